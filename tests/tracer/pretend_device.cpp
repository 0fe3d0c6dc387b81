// A device that is simulated on the host, for tests: its memory cannot be read from outside.
//
// Each storage has pages of its own that nobody may touch; they are opened while an op runs on
// them, with the CPU's kernels, and closed after it. So whatever reads an address that belongs to
// the device ends the process. What copies to the host, or decides by elements, is counted, and
// refused while `pretend_refuse(1)` holds.

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace {

std::atomic<long> reads{0};
std::atomic<bool> refusing{false};

void read_by_host(const std::string& what) {
  ++reads;
  TORCH_CHECK(!refusing, "the host reads memory of the device: ", what);
}

struct Block {
  void* start;
  size_t bytes;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  munmap(block->start, block->bytes);
  delete block;
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    c10::Device device(c10::DeviceType::PrivateUse1, 0);
    if (!bytes) return {nullptr, device};
    bytes = (bytes + 4095) / 4096 * 4096;
    void* start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(start != MAP_FAILED, "the simulated device is out of memory");
    return {start, new Block{start, bytes}, &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    TORCH_CHECK(false, "no bare copies");
  }
};

Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory);
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1> {
  static c10::Device only() { return {c10::DeviceType::PrivateUse1, 0}; }
  c10::Device exchangeDevice(c10::Device) const override { return only(); }
  c10::Device getDevice() const override { return only(); }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, only());
  }
  c10::Stream exchangeStream(c10::Stream) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, only());
  }
  bool queryEvent(void*) const override { return true; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

const bool hooked = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

// Opens storages for as long as it lives, and hands out CPU tensors over the same memory.
struct Opened {
  std::vector<std::pair<at::Tensor, at::Tensor>> known;  // the device's, ours

  static void protect(const at::Tensor& tensor, int how) {
    auto* block = static_cast<Block*>(tensor.storage().data_ptr().get_context());
    if (block) TORCH_CHECK(!mprotect(block->start, block->bytes, how), "mprotect failed");
  }
  at::Tensor on_host(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_privateuseone()) return tensor;
    protect(tensor, PROT_READ | PROT_WRITE);
    auto* start = static_cast<char*>(tensor.storage().data_ptr().get());
    start += tensor.storage_offset() * tensor.element_size();
    auto options = tensor.options().device(at::kCPU).requires_grad(false);
    // What is empty may be a result that is to grow.
    auto ours = tensor.numel()
        ? at::from_blob(start, tensor.sizes(), tensor.strides(), options)
        : at::empty_strided(tensor.sizes(), tensor.strides(), options);
    known.emplace_back(tensor, ours);
    return ours;
  }
  at::Tensor on_device(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.device().is_cpu()) return tensor;
    for (auto& [theirs, ours] : known)
      if (ours.is_same(tensor)) {  // perhaps of another shape than it was given in
        auto* held = theirs.unsafeGetTensorImpl();
        if (!theirs.numel() && tensor.numel())
          held->set_storage_keep_dtype(copy_of(tensor).storage());
        held->set_sizes_and_strides(tensor.sizes(), tensor.strides());
        return theirs;
      }
    return copy_of(tensor);
  }
  static at::Tensor copy_of(const at::Tensor& tensor) {
    auto made = at::empty_strided(
        tensor.sizes(), tensor.strides(), tensor.options().device(c10::DeviceType::PrivateUse1));
    auto* context = made.storage().data_ptr().get_context();
    if (context) {
      protect(made, PROT_READ | PROT_WRITE);
      std::memcpy(made.storage().data_ptr().get(), tensor.data_ptr(), tensor.storage().nbytes());
      protect(made, PROT_NONE);
    }
    return made;
  }
  ~Opened() {
    for (auto& [theirs, ours] : known) protect(theirs, PROT_NONE);
  }
};

const std::set<std::string> DECIDING = {
    "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero", "aten::bincount",
    "aten::_unique2", "aten::repeat_interleave", "aten::unique_dim", "aten::argwhere"};

void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto name = op.schema().operator_name().name;
  if (DECIDING.count(name)) read_by_host(name);
  const auto inputs = op.schema().arguments().size();
  const auto begin = stack->size() - inputs;
  Opened opened;
  for (size_t i = begin; i < stack->size(); ++i) {
    auto& value = (*stack)[i];
    if (value.isTensor()) {
      value = opened.on_host(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> all;
      for (const at::Tensor& each : value.toTensorVector()) all.push_back(opened.on_host(each));
      value = c10::IValue(all);
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> all;
      for (const std::optional<at::Tensor>& each : value.toOptionalTensorList())
        all.push_back(each ? std::optional<at::Tensor>(opened.on_host(*each)) : std::nullopt);
      value = c10::IValue(all);
    } else if (value.isDevice()) {
      value = c10::IValue(c10::Device(at::kCPU));
    }
  }
  op.callBoxed(stack);
  const auto results = op.schema().returns().size();
  for (size_t i = stack->size() - results; i < stack->size(); ++i) {
    auto& value = (*stack)[i];
    if (value.isTensor()) {
      value = opened.on_device(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> all;
      for (const at::Tensor& each : value.toTensorVector()) all.push_back(opened.on_device(each));
      value = c10::IValue(all);
    }
  }
}

at::Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(
      size, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  if (from.is_privateuseone() && !to.is_privateuseone()) read_by_host("a copy to the host");
  Opened opened;
  opened.on_host(to).copy_(opened.on_host(from));
  return to;
}

at::Scalar item(const at::Tensor& tensor) {
  read_by_host("item");
  Opened opened;
  return opened.on_host(tensor).item();
}

at::Tensor convolve(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias,
                    c10::IntArrayRef stride, c10::IntArrayRef padding, c10::IntArrayRef dilation,
                    bool transposed, c10::IntArrayRef extra, int64_t groups) {
  Opened opened;
  std::optional<at::Tensor> ours;
  if (bias && bias->defined()) ours = opened.on_host(*bias);
  return opened.on_device(at::convolution(opened.on_host(x), opened.on_host(w), ours, stride,
                                          padding, dilation, transposed, extra, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolve_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& w, c10::IntArrayRef stride,
    c10::IntArrayRef padding, c10::IntArrayRef dilation, bool transposed, c10::IntArrayRef extra,
    int64_t groups, std::array<bool, 3> wanted) {
  Opened opened;
  std::vector<int64_t> bias = {grad.size(1)};
  auto [first, second, third] = at::convolution_backward(
      opened.on_host(grad), opened.on_host(x), opened.on_host(w), c10::IntArrayRef(bias), stride,
      padding, dilation, transposed, extra, groups, wanted);
  return {opened.on_device(first), opened.on_device(second), opened.on_device(third)};
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("_copy_from", &copy_from);
  m.impl("_local_scalar_dense", &item);
  m.impl("convolution_overrideable", &convolve);
  m.impl("convolution_backward_overrideable", &convolve_backward);
}

extern "C" {
long pretend_reads() { return reads; }
void pretend_refuse(int on) { refusing = on != 0; }
}
