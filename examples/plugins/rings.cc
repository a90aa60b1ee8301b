// Worked example, a dataset: points on two rings, made on the spot. In the tree it would be
// learning/datasets/rings.cc, its test tests/data/rings_test.cc.
#include <cmath>
#include <numbers>

#include "core/random.h"
#include "learning/dataset.h"

namespace muster {
namespace {

struct RingsOptions {
  int64_t samples = 1000;
  double noise = 0.1;
};

class Rings final : public DatasetLoader {
 public:
  explicit Rings(const RingsOptions& options) : options_(options) {}

  absl::StatusOr<TrainTest> Load() const override {
    TrainTest data{Draw(1), Draw(2)};
    MUSTER_RETURN_IF_ERROR(CheckDataset(data.train, "rings"));
    return data;
  }

 private:
  Dataset Draw(uint64_t part) const {
    Dataset data;
    data.sample_shape = {2};
    data.num_classes = 2;
    data.class_names = {"inner", "outer"};
    Random random({.seed = 1, .purpose = Purpose::kTest, .client = part});
    for (int64_t i = 0; i < options_.samples; ++i) {
      const auto label = static_cast<int64_t>(random.Below(2));
      const double angle = 2 * std::numbers::pi * random.Uniform();
      const double radius = 1 + static_cast<double>(label) + options_.noise * random.Normal();
      data.inputs.push_back(static_cast<float>(radius * std::cos(angle)));
      data.inputs.push_back(static_cast<float>(radius * std::sin(angle)));
      data.labels.push_back(label);
    }
    return data;
  }

  const RingsOptions options_;
};

MUSTER_REGISTER(DatasetLoader, Plugin<RingsOptions>("rings", "Points on two rings")
                                   .Option("samples", &RingsOptions::samples, "in each part", AtLeast(1))
                                   .Option("noise", &RingsOptions::noise, "spread of the radius", AtLeast(0))
                                   .Make<Rings>());

}  // namespace
}  // namespace muster
