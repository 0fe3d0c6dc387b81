"""What results show: pages of tables and lines, and one writer for each format."""
