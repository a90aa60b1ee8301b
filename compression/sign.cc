// One bit an element.
#include "compression/sign.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/bits.h"
#include "compression/bucketed.h"
#include "compression/kernels.h"

namespace muster {
namespace {

struct SignOptions {
  std::string scale = "mean";
  int64_t bucket = 4096;
};

// A bucket: f32 scale, then sign bits; element = scale, or -scale where its bit is set (the sign bit of x_i,
// so 0 counts as positive). A bucket of zeros has scale 0.
//   mean    |x|_1 / n: the contractive scaled sign of Karimireddy et al., delta = |x|_1^2 / (n |x|^2) >= 1 /
//   n none    1: signSGD, for majority votes energy  |x|^2 / |x|_1: DRIVE's unbiased scale, meant for rotated
//   vectors
class Sign final : public Bucketed {
 public:
  static constexpr uint8_t kCodec = 6;

  explicit Sign(const SignOptions& options) : Bucketed(options.bucket), scale_(options.scale) {}

  uint8_t codec() const override { return kCodec; }
  Traits traits(const Layout& layout) const override {
    Traits traits{.bytes = PayloadBytes(layout)};
    const auto n = static_cast<double>(std::max<int64_t>(1, std::min(BucketOf(layout), layout.size)));
    if (scale_ == "mean") traits.delta = 1 / n;
    return traits;
  }

  absl::Status Visit(std::string_view data, const Layout& layout,
                     absl::FunctionRef<void(int64_t, std::span<const uint8_t>, float)> visit) const {
    MUSTER_ASSIGN_OR_RETURN(const Parsed parsed, Parse(data, layout));
    return ForEachBucket(parsed, layout, [&](const uint8_t* bucket, size_t n, size_t begin) {
      visit(static_cast<int64_t>(begin), {bucket + sizeof(float), PackedBytes(n, 1)}, ScaleOf(bucket));
      return absl::OkStatus();
    });
  }

 protected:
  const char* name() const override { return "sign"; }
  size_t BucketBytes(uint16_t /*levels*/, size_t n) const override {
    return sizeof(float) + PackedBytes(n, 1);
  }

  bool EncodeBucket(std::span<const float> x, uint16_t /*levels*/, NoiseKey /*noise*/, Ahead& /*ahead*/,
                    uint8_t* out) const override {
    const double sum = PackSigns(x, out + sizeof(float));
    if (!std::isfinite(sum)) return false;
    const float scale = MakeScale(sum, by_energy() ? SumOfSquares(x) : 0, x.size());
    std::memcpy(out, &scale, sizeof scale);
    return true;
  }
  absl::StatusOr<OnDevice> EncodeOnDevice(const DeviceVector& x, int64_t bucket,
                                          std::span<const NoiseKey> /*noise*/) const override {
    MUSTER_ASSIGN_OR_RETURN(DeviceVector::Signs signs, x.PackSigns(bucket, by_energy()));
    OnDevice encoded{.floats = {}, .packed = std::move(signs.bits)};
    int64_t left = x.size();
    for (size_t i = 0; i < signs.magnitudes.size(); ++i, left -= bucket) {
      const double sum = signs.magnitudes[i], squares = by_energy() ? signs.squares[i] : 0;
      if (!std::isfinite(sum)) return OnDevice();
      encoded.floats.push_back(MakeScale(sum, squares, static_cast<size_t>(std::min(bucket, left))));
    }
    return encoded;
  }

  absl::StatusOr<float> CheckBucket(const uint8_t* bucket, uint16_t /*levels*/, size_t n) const override {
    const float scale = ScaleOf(bucket);
    if (std::signbit(scale) || !std::isfinite(scale))
      return InvalidInput(absl::StrCat("has the scale ", scale));
    if (!PaddingIsZero(bucket + sizeof scale, n, 1)) return InvalidInput("has padding that is not zero");
    return scale;
  }
  void DecodePiece(const uint8_t* bucket, uint16_t /*levels*/, size_t /*n*/, size_t begin,
                   std::span<float> out) const override {
    UnpackSigns(bucket + sizeof(float) + begin / 8, ScaleOf(bucket), out);
  }
  void FoldBucket(const uint8_t* bucket, uint16_t /*levels*/, size_t n, int64_t offset,
                  const ExactSum::Term& term) const override {
    term.AddSigns(offset, {bucket + sizeof(float), PackedBytes(n, 1)}, static_cast<int64_t>(n),
                  ScaleOf(bucket));
  }

 private:
  bool by_energy() const { return scale_ == "energy"; }
  // Of a bucket of n elements; `squares` counts by energy alone.
  float MakeScale(double magnitudes, double squares, size_t n) const {
    double scale = magnitudes > 0 ? 1 : 0;
    if (scale_ == "mean") scale = magnitudes / static_cast<double>(n);
    if (by_energy() && magnitudes > 0) scale = squares / magnitudes;
    return static_cast<float>(std::min<double>(scale, std::numeric_limits<float>::max()));
  }
  static float ScaleOf(const uint8_t* bucket) {
    float scale = 0;
    std::memcpy(&scale, bucket, sizeof scale);
    return scale;
  }

  const std::string scale_;
};

MUSTER_REGISTER(
    Compressor,
    Plugin<SignOptions>("sign",
                        "The sign of every element and one scale a bucket; contractive with scale mean",
                        "Karimireddy et al. 2019, arXiv:1901.09847 (mean); Bernstein et al. 2018, "
                        "arXiv:1802.04434 (none); Vargaftik et al. 2021, arXiv:2105.08339 (energy)")
        .Option("scale", &SignOptions::scale, "what a bit stands for: mean |x|, 1, or |x|^2 / |x|_1",
                OneOf({"mean", "none", "energy"}))
        .Option("bucket", &SignOptions::bucket, "elements that share a scale; 0: all", Between(0, 0x1.0p31))
        .Make<Sign>());

}  // namespace

absl::StatusOr<bool> VisitSigns(const Payload& payload, const Layout& layout,
                                absl::FunctionRef<void(int64_t, std::span<const uint8_t>, float)> visit) {
  MUSTER_ASSIGN_OR_RETURN(const PayloadView view, ParsePayload(payload, layout));
  if (view.codec != Sign::kCodec) return false;
  MUSTER_RETURN_IF_ERROR(Sign({}).Visit(view.data, layout, visit));
  return true;
}

}  // namespace muster
