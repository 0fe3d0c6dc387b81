"""Pictures of results for papers; the only room that knows matplotlib."""
