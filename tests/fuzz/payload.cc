// libFuzzer target for the decoders of payloads. Input: one byte chooses the layout, one is the codec id, the
// rest is the codec's data. Whatever they are: decoding is bounded by the model's size, folding agrees with
// decoding to the last bit, and what is refused leaves no trace. MUSTER_FUZZ_CODEC=ID keeps to one codec.
#include <sanitizer/allocator_interface.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "compression/compressor.h"

namespace muster {
namespace {

size_t live = 0, most = 0;  // bytes; libFuzzer runs one thread

void OnMalloc(const volatile void* memory, size_t size) {
  if (memory == nullptr) return;
  live += size;
  most = std::max(most, live);
}
void OnFree(const volatile void* memory) {
  const size_t size = __sanitizer_get_allocated_size(memory);
  live -= std::min(live, size);
}

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// As the layouts of tests/compression/vectors.txt.
Layout LayoutOf(int64_t size) {
  const auto side = static_cast<int64_t>(std::sqrt(static_cast<double>(size) * 2 / 3));
  const int64_t rest = size - side * side;
  Layout layout;
  layout.Add("weight", {side, side}, true);
  layout.Add("norm", {rest / 2}, true);
  layout.Add("bias", {rest - rest / 2}, true);
  return layout;
}

bool Same(const ExactSum& a, const ExactSum& b) {
  std::vector<float> x(static_cast<size_t>(a.size())), y(x);
  Require(a.Quotient(1, x).ok() && b.Quotient(1, y).ok(), "a sum has no quotient");
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::bit_cast<uint32_t>(x[i]) != std::bit_cast<uint32_t>(y[i])) return false;
  }
  return a.terms() == b.terms() && a.total_weight() == b.total_weight();
}

void Try(const Layout& layout, uint8_t codec, const std::string& data) {
  const Payload payload{PayloadHeader(codec, layout) + data};
  ExactSum folded(layout.size, 4), added(layout.size, 4);
  // A form holds the vector and at most as much again; a rotation, where the last block is padded, twice as
  // much. Each of up to four stages inside one another holds as much for itself.
  const bool nested = data.find_first_of("\x10\x11\x12\x13\x14\x15\x16") != data.npos;
  const size_t vectors = codec >= 16 && nested ? 7 : codec == 18 ? 3 : 2;
  // A decompressor's own state is not of the model's size.
  const size_t bound = vectors * sizeof(float) * static_cast<size_t>(layout.size) + (size_t{1} << 18);
  most = live;
  const size_t before = live;
  const auto decoded = DecodePayload(payload, layout);
  Require(most - before <= bound, "decoding takes more memory than the model's size bounds");
  most = live;
  const absl::Status status = FoldPayload(payload, 0.7, layout, folded);
  Require(most - before <= bound + sizeof(float) * static_cast<size_t>(layout.size),
          "folding takes too much memory");
  if (decoded.ok()) {
    for (const float value : *decoded) Require(std::isfinite(value), "a decoded value is not finite");
    Require(added.Add(*decoded, 0.7).ok() == status.ok(), "folding and adding disagree about what is good");
  } else {
    Require(!status.ok(), "folded what does not decode");
  }
  Require(Same(folded, added), "folding is not decoding and adding");
}

}  // namespace
}  // namespace muster

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  __sanitizer_install_malloc_and_free_hooks(muster::OnMalloc, muster::OnFree);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto* const layouts = [] {
    auto* made = new std::vector<muster::Layout>;
    for (const int64_t n : {0, 1, 60, 200, 250, 400, 5000, 100000}) made->push_back(muster::LayoutOf(n));
    return made;
  }();
  static const char* const only = std::getenv("MUSTER_FUZZ_CODEC");
  if (size < 2) return 0;
  const uint8_t codec = only != nullptr ? static_cast<uint8_t>(std::atoi(only)) : bytes[1];
  muster::Try((*layouts)[bytes[0] % layouts->size()], codec,
              std::string(reinterpret_cast<const char*>(bytes) + 2, size - 2));
  return 0;
}
