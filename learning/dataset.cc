#include "learning/dataset.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

// The first element that is not finite, or -1. Whole blocks first: a loop of fixed length without an exit is
// fast.
int64_t FirstNonFinite(const std::vector<float>& values) {
  constexpr size_t kBlock = 4096;
  constexpr float kMax = std::numeric_limits<float>::max();
  for (size_t start = 0; start < values.size(); start += kBlock) {
    const size_t end = std::min(values.size(), start + kBlock);
    bool good = true;
    for (size_t i = start; i < end; ++i) good &= std::fabs(values[i]) <= kMax;
    if (good) continue;
    for (size_t i = start; i < end; ++i) {
      if (!std::isfinite(values[i])) return static_cast<int64_t>(i);
    }
  }
  return -1;
}

absl::Status CheckTargets(const Dataset& data, const std::string& name) {
  if (data.num_classes > 0) {
    if (!data.values.empty())
      return InvalidInput(absl::StrCat(name, ": has class labels and regression values"));
    for (size_t i = 0; i < data.labels.size(); ++i) {
      if (data.labels[i] >= 0 && data.labels[i] < data.num_classes) continue;
      return InvalidInput(absl::StrCat(name, ": label ", data.labels[i], " of sample ", i,
                                       " is not one of 0 to ", data.num_classes - 1,
                                       "; mend the label or set more classes"));
    }
    if (!data.class_names.empty() && static_cast<int64_t>(data.class_names.size()) != data.num_classes) {
      return InvalidInput(absl::StrCat(name, ": ", data.class_names.size(), " class names for ",
                                       data.num_classes, " classes"));
    }
    return absl::OkStatus();
  }
  if (!data.labels.empty())
    return InvalidInput(absl::StrCat(name, ": has class labels but no number of classes"));
  if (const int64_t bad = FirstNonFinite(data.values); bad >= 0) {
    return InvalidInput(absl::StrCat(name, ": the target of sample ", bad, " is ", data.values[bad],
                                     ", not a finite number; mend or remove the sample"));
  }
  return absl::OkStatus();
}

// What one channel or column is shifted and scaled by.
struct Moments {
  double mean = 0;
  double squares = 0;  // sum of squared deviations
  float low = std::numeric_limits<float>::max();
  float high = std::numeric_limits<float>::lowest();

  // A constant channel keeps its scale; told by its values, as rounding would leave a tiny deviation to
  // divide by.
  bool constant() const { return low == high; }
};

// Calls visit(channel, elements) for every channel of every sample, in memory order.
template <typename Visit>
void ForEachChannel(Dataset& data, Visit visit) {
  const int64_t channels = data.sample_shape[0], run = data.sample_size() / channels;
  float* next = data.inputs.data();
  for (int64_t sample = 0; sample < data.size(); ++sample) {
    for (int64_t channel = 0; channel < channels; ++channel, next += run)
      visit(channel, std::span(next, run));
  }
}

std::vector<Moments> MomentsOf(Dataset& data) {
  std::vector<Moments> moments(data.sample_shape[0]);
  ForEachChannel(data, [&](int64_t channel, std::span<const float> elements) {
    Moments& m = moments[channel];
    double sum = 0;
    for (const float x : elements) {
      sum += x;
      m.low = std::min(m.low, x);
      m.high = std::max(m.high, x);
    }
    m.mean += sum;
  });
  const double count = static_cast<double>(data.inputs.size()) / static_cast<double>(moments.size());
  for (Moments& m : moments) m.mean = m.constant() ? m.low : m.mean / count;
  ForEachChannel(data, [&](int64_t channel, std::span<const float> elements) {
    double squares = 0;
    for (const float x : elements) squares += (x - moments[channel].mean) * (x - moments[channel].mean);
    moments[channel].squares += squares;
  });
  return moments;
}

}  // namespace

int64_t Dataset::size() const {
  return static_cast<int64_t>(num_classes > 0 ? labels.size() : values.size());
}

int64_t Dataset::sample_size() const {
  return std::accumulate(sample_shape.begin(), sample_shape.end(), int64_t{1}, std::multiplies<>());
}

absl::Status CheckDataset(const Dataset& dataset, const std::string& name) {
  if (dataset.size() == 0) return InvalidInput(absl::StrCat(name, ": holds no samples"));
  if (dataset.size() > std::numeric_limits<uint32_t>::max()) {
    return InvalidInput(absl::StrCat(name, ": holds ", dataset.size(), " samples, more than 2^32 - 1"));
  }
  for (const int64_t side : dataset.sample_shape) {
    if (side <= 0) return InvalidInput(absl::StrCat(name, ": a sample has a dimension of size ", side));
  }
  if (dataset.sample_shape.empty()) return InvalidInput(absl::StrCat(name, ": samples have no shape"));
  if (static_cast<int64_t>(dataset.inputs.size()) != dataset.size() * dataset.sample_size()) {
    return InvalidInput(absl::StrCat(name, ": ", dataset.size(), " samples of ", dataset.sample_size(),
                                     " elements, but ", dataset.inputs.size(), " inputs"));
  }
  MUSTER_RETURN_IF_ERROR(CheckTargets(dataset, name));
  for (const auto& [group, ids] : dataset.groups) {
    if (static_cast<int64_t>(ids.size()) != dataset.size()) {
      return InvalidInput(absl::StrCat(name, ": ", ids.size(), " ids of group '", group, "' for ",
                                       dataset.size(), " samples; there must be one per sample"));
    }
  }
  if (const int64_t bad = FirstNonFinite(dataset.inputs); bad >= 0) {
    return InvalidInput(absl::StrCat(name, ": sample ", bad / dataset.sample_size(), " holds ",
                                     dataset.inputs[bad], " at element ", bad % dataset.sample_size(),
                                     ", not a finite number; mend or remove the sample"));
  }
  return absl::OkStatus();
}

Dataset TakeSamples(const Dataset& dataset, std::span<const int64_t> indices) {
  Dataset taken;
  taken.sample_shape = dataset.sample_shape;
  taken.num_classes = dataset.num_classes;
  taken.class_names = dataset.class_names;
  const auto take = [indices](const auto& from, auto& to) {
    if (from.empty()) return;
    to.reserve(indices.size());
    for (const int64_t i : indices) to.push_back(from[i]);
  };
  take(dataset.labels, taken.labels);
  take(dataset.values, taken.values);
  for (const auto& [name, ids] : dataset.groups) take(ids, taken.groups[name]);
  const int64_t width = dataset.sample_size();
  taken.inputs.reserve(indices.size() * width);
  for (const int64_t i : indices) {
    const auto start = dataset.inputs.begin() + i * width;
    taken.inputs.insert(taken.inputs.end(), start, start + width);
  }
  return taken;
}

absl::StatusOr<Dataset> PoolImages(const Dataset& dataset, int64_t factor) {
  const std::vector<int64_t>& shape = dataset.sample_shape;
  if (factor == 1) return dataset;
  if (factor < 1) return InvalidInput(absl::StrCat("pool: ", factor, " is out of range, must be at least 1"));
  if (shape.size() != 3) return InvalidInput("pool: the data are not images; leave it at 1");
  if (shape[1] % factor != 0 || shape[2] % factor != 0) {
    return InvalidInput(absl::StrCat("pool: ", factor, " does not divide images of ", shape[1], " x ",
                                     shape[2], "; take a factor that divides both sides"));
  }
  Dataset pooled;
  pooled.labels = dataset.labels;
  pooled.values = dataset.values;
  pooled.num_classes = dataset.num_classes;
  pooled.class_names = dataset.class_names;
  pooled.groups = dataset.groups;
  const int64_t height = shape[1] / factor, width = shape[2] / factor;
  pooled.sample_shape = {shape[0], height, width};
  pooled.inputs.resize(dataset.size() * pooled.sample_size());
  float* out = pooled.inputs.data();
  const float scale = 1.0f / static_cast<float>(factor * factor);
  for (int64_t plane = 0; plane < dataset.size() * shape[0]; ++plane) {
    const float* image = dataset.inputs.data() + plane * shape[1] * shape[2];
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        float sum = 0;
        for (int64_t dy = 0; dy < factor; ++dy) {
          for (int64_t dx = 0; dx < factor; ++dx)
            sum += image[(y * factor + dy) * shape[2] + x * factor + dx];
        }
        *out++ = sum * scale;
      }
    }
  }
  return pooled;
}

void Standardize(TrainTest& data) {
  if (data.train.sample_shape.empty() || data.train.inputs.empty()) return;
  const std::vector<Moments> moments = MomentsOf(data.train);
  const double count = static_cast<double>(data.train.inputs.size()) / static_cast<double>(moments.size());
  std::vector<double> scales;
  scales.reserve(moments.size());
  for (const Moments& m : moments) scales.push_back(m.constant() ? 1 : 1 / std::sqrt(m.squares / count));
  for (Dataset* part : {&data.train, &data.test}) {
    ForEachChannel(*part, [&](int64_t channel, std::span<float> elements) {
      const double mean = moments[channel].mean, scale = scales[channel];
      for (float& x : elements) x = static_cast<float>((x - mean) * scale);
    });
  }
}

}  // namespace muster
