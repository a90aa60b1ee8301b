#include "client/tensor_vector.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "client/torch_training.h"

namespace muster {
namespace {

template <typename T>
std::vector<T> ToHost(const at::Tensor& tensor) {
  const at::Tensor here = tensor.cpu().contiguous();
  const T* const first = here.data_ptr<T>();
  return {first, first + here.numel()};
}

// A copy of the host's numbers on the device of `there`. They are only read.
template <typename T>
at::Tensor ToDevice(std::span<const T> numbers, at::IntArrayRef shape, at::ScalarType type,
                    const at::Tensor& there) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
  return at::from_blob(const_cast<T*>(numbers.data()), shape, type).to(there.device());
}

// Packs the rows of `codes`, [rows, columns] uint8: `together` codes are the digits in base `base`, the first
// the lowest, of a number of `bytes` bytes.
DeviceVector::Packed Pack(at::Tensor codes, int64_t together, int64_t base, int64_t bytes) {
  const int64_t rows = codes.size(0), stride = (codes.size(1) * bytes + together - 1) / together;
  if (bytes < together) {
    const int64_t rest = codes.size(1) % together;
    if (rest > 0) codes = at::constant_pad_nd(codes, {0, together - rest});
    const at::Tensor digits = codes.view({rows, -1, together});
    at::Tensor number = digits.select(2, together - 1).to(at::kLong);
    for (int64_t i = together - 1; i-- > 0;) number.mul_(base).add_(digits.select(2, i));
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i < bytes; ++i) {
      parts.push_back(at::bitwise_and(at::bitwise_right_shift(number, 8 * i), 0xff).to(at::kByte));
    }
    codes = at::stack(parts, 2).flatten(1).narrow(1, 0, stride);
  }
  const at::Tensor here = codes.cpu().contiguous();
  const auto* const first = reinterpret_cast<const char*>(here.data_ptr<uint8_t>());
  return {.bytes = std::string(first, static_cast<size_t>(here.numel())),
          .stride = static_cast<size_t>(stride)};
}

// Of integers of 32 bits, where zeros come in from above.
at::Tensor ShiftRight(const at::Tensor& x, int bits) {
  return at::bitwise_and(at::bitwise_right_shift(x, bits), (int64_t{1} << (32 - bits)) - 1);
}

// UpperNoiseBits of compression/noise.h, as integers of 32 bits that wrap around.
at::Tensor UpperNoiseBits(const at::Tensor& a, const at::Tensor& b, const at::Tensor& i) {
  at::Tensor x = i + a;
  x.bitwise_xor_(ShiftRight(x, 16)).mul_(0x7feb352d).add_(b);
  return x.bitwise_xor_(ShiftRight(x, 15)).mul_(std::bit_cast<int32_t>(0x846ca68bU));
}

class TensorSum final : public DeviceSum {
 public:
  explicit TensorSum(at::Tensor values) : values_(std::move(values)) {}

  at::Tensor& values() { return values_; }
  std::span<int64_t> elements() override {
    return {values_.data_ptr<int64_t>(), static_cast<size_t>(values_.numel())};
  }

  absl::Status MoveTo(std::span<int64_t> sum) override {
    try {
      const at::Tensor here = values_.cpu();
      const int64_t* const first = here.data_ptr<int64_t>();
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += first[i];
      values_.zero_();
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return FromException(e);
    }
  }

 private:
  at::Tensor values_;  // [size] int64; no work on it is under way
};

class TensorVector final : public DeviceVector {
 public:
  TensorVector(at::Tensor values, std::optional<c10::Stream> stream)
      : values_(std::move(values)), stream_(stream) {}

  int64_t size() const override { return values_.numel(); }

  absl::Status Copy(std::span<float> out) const override {
    return There([&]() -> absl::Status {
      at::from_blob(out.data(), {size()}, at::kFloat).copy_(values_);
      return absl::OkStatus();
    });
  }

  absl::StatusOr<double> SumOfSquares() const override {
    return There(
        [&]() -> absl::StatusOr<double> { return values_.to(at::kDouble).square_().sum().item<double>(); });
  }

  absl::StatusOr<Kept> Largest(int64_t k) const override {
    return There([&]() -> absl::StatusOr<Kept> {
      // Magnitudes as integers have the order of the magnitudes, NaN above all.
      const at::Tensor magnitudes = at::bitwise_and(values_.view(at::kInt), 0x7fffffff);
      const at::Tensor least =
          std::get<0>(at::topk(magnitudes, k, 0, /*largest=*/true, /*sorted=*/false)).amin();
      const at::Tensor above = at::nonzero(magnitudes > least).view(-1);
      const at::Tensor equal = at::nonzero(magnitudes == least).view(-1).narrow(0, 0, k - above.numel());
      const at::Tensor places = std::get<0>(at::sort(at::cat({above, equal})));
      const std::vector<int64_t> here = ToHost<int64_t>(places);
      return Kept{.places = std::vector<uint32_t>(here.begin(), here.end()),
                  .values = ToHost<float>(values_.index_select(0, places))};
    });
  }

  absl::StatusOr<std::vector<float>> LargestMagnitudes(int64_t bucket) const override {
    return There(
        [&]() -> absl::StatusOr<std::vector<float>> { return ToHost<float>(Buckets(bucket).abs().amax(1)); });
  }

  absl::StatusOr<Signs> PackSigns(int64_t bucket, bool squares) const override {
    return There([&]() -> absl::StatusOr<Signs> {
      const at::Tensor x = Buckets(bucket), exact = x.to(at::kDouble);
      Signs signs;
      signs.bits = Pack((x.view(at::kInt) < 0).to(at::kByte), 8, 2, 1);
      signs.magnitudes = ToHost<double>(exact.abs().sum(1));
      if (squares) signs.squares = ToHost<double>(exact.square().sum(1));
      return signs;
    });
  }

  absl::StatusOr<Packed> RoundToLevels(int64_t bucket, int levels, std::span<const float> inverses,
                                       std::span<const NoiseKey> noise) const override {
    return There([&]() -> absl::StatusOr<Packed> {
      const auto rows = static_cast<int64_t>(inverses.size());
      static_assert(sizeof(NoiseKey) == 2 * sizeof(int32_t));
      const at::Tensor keys = ToDevice(noise, {rows, 2}, at::kInt, values_);
      const at::Tensor bits =
          UpperNoiseBits(keys.narrow(1, 0, 1), keys.narrow(1, 1, 1), at::arange(bucket, keys.options()));
      const at::Tensor one_to_two = at::bitwise_or(ShiftRight(bits, 9), 0x3f800000).view(at::kFloat);
      // The host's multiplication and addition are one operation. In double the product is exact, and the sum
      // so nearly that rounding it to a float is the only rounding that shows.
      at::Tensor t = Buckets(bucket).to(at::kDouble);
      t.mul_(ToDevice(inverses, {rows, 1}, at::kFloat, values_)).add_(one_to_two);
      at::Tensor codes =
          t.to(at::kFloat).floor_().clamp_(1 - levels, levels + 1).add_(levels - 1).to(at::kByte);
      codes.view(-1).narrow(0, size(), codes.numel() - size()).zero_();  // behind the last element
      if (levels == 1) return Pack(codes, 5, 3, 1);
      const int width = std::bit_width(2U * static_cast<unsigned>(levels));
      return Pack(codes, 8, int64_t{1} << width, width);
    });
  }

  absl::Status AddTo(double scale, std::unique_ptr<DeviceSum>& sum) const override {
    return There([&]() -> absl::Status {
      if (sum == nullptr) {
        sum = std::make_unique<TensorSum>(at::zeros({size()}, values_.options().dtype(at::kLong)));
      }
      auto* const there = dynamic_cast<TensorSum*>(sum.get());
      if (there == nullptr) return InternalError("a sum on another device");
      at::Tensor term = values_.to(at::kDouble);
      there->values().add_(term.mul_(scale).round_().to(at::kLong));
      if (stream_) stream_->synchronize();  // the next term may come in another queue
      return absl::OkStatus();
    });
  }

 private:
  // What `work` returns, a status or a value, with the device's work in its queue.
  template <typename Work>
  std::invoke_result_t<Work> There(const Work& work) const {
    try {
      const c10::OptionalStreamGuard on_stream = OnStream(stream_);
      const at::NoGradGuard no_grad;
      return work();
    } catch (const std::exception& e) {
      return FromException(e);
    }
  }

  // [buckets, bucket], the last one filled up with zeros.
  at::Tensor Buckets(int64_t bucket) const {
    const int64_t rest = size() % bucket;
    return (rest == 0 ? values_ : at::constant_pad_nd(values_, {0, bucket - rest})).view({-1, bucket});
  }

  const at::Tensor values_;
  const std::optional<c10::Stream> stream_;
};

}  // namespace

std::shared_ptr<const DeviceVector> MakeDeviceVector(at::Tensor values, std::optional<c10::Stream> stream) {
  return std::make_shared<TensorVector>(std::move(values), stream);
}

}  // namespace muster
