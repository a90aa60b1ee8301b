#include "learning/federated_data.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/config.h"
#include "core/file.h"
#include "core/random.h"

namespace muster {
namespace {

// What a partitioner needs of the samples at `indices`: everything but the inputs.
Dataset WithoutInputs(const Dataset& data, std::span<const uint32_t> indices) {
  Dataset light;
  light.sample_shape = data.sample_shape;
  light.num_classes = data.num_classes;
  light.class_names = data.class_names;
  for (const uint32_t i : indices) {
    if (!data.labels.empty()) light.labels.push_back(data.labels[i]);
    if (!data.values.empty()) light.values.push_back(data.values[i]);
  }
  for (const auto& [name, ids] : data.groups) {
    auto& kept = light.groups[name];
    for (const uint32_t i : indices) kept.push_back(ids[i]);
  }
  return light;
}

// `count` of `pool`, ascending.
std::vector<uint32_t> Draw(std::span<const uint32_t> pool, int64_t count, const RandomKey& key) {
  Random random(key);
  std::vector<uint32_t> drawn;
  for (const int64_t i : random.Sample(static_cast<int64_t>(pool.size()), count)) drawn.push_back(pool[i]);
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

// All of 0 .. size-1 that are not in `taken` (which may repeat).
std::vector<uint32_t> Complement(int64_t size, std::span<const uint32_t> taken) {
  std::vector<bool> is_taken(static_cast<size_t>(size), false);
  for (const uint32_t i : taken) is_taken[i] = true;
  std::vector<uint32_t> rest;
  for (int64_t i = 0; i < size; ++i) {
    if (!is_taken[i]) rest.push_back(static_cast<uint32_t>(i));
  }
  return rest;
}

absl::StatusOr<std::vector<uint32_t>> HoldOut(std::span<const uint32_t> pool, int64_t samples, const char* of,
                                              uint64_t seed) {
  if (samples > static_cast<int64_t>(pool.size())) {
    return InvalidInput(absl::StrCat("data.trust.samples: ", samples, " are asked for, only ", pool.size(),
                                     " ", of, " samples are there"));
  }
  return Draw(pool, samples, {.seed = seed, .purpose = Purpose::kTrustSet});
}

// Splits `share` of one client's samples off, class by class so that both parts have the same mix. The
// fraction carries over between classes: the total is right within one sample.
void SplitValidation(const Dataset& data, std::span<const uint32_t> samples, double share,
                     const RandomKey& key, std::vector<uint32_t>& training,
                     std::vector<uint32_t>& validation) {
  std::vector<uint32_t> order(samples.begin(), samples.end());
  Random(key).Shuffle(std::span(order));
  if (!data.labels.empty()) {
    std::stable_sort(order.begin(), order.end(),
                     [&data](uint32_t a, uint32_t b) { return data.labels[a] < data.labels[b]; });
  }
  double owed = 0;
  for (const uint32_t sample : order) {
    owed += share;
    if (owed >= 1) {
      owed -= 1;
      validation.push_back(sample);
    } else {
      training.push_back(sample);
    }
  }
  std::sort(training.begin(), training.end());
  std::sort(validation.begin(), validation.end());
}

absl::StatusOr<TrainTest> LoadSamples(const v1::Data& config, uint64_t seed) {
  MUSTER_ASSIGN_OR_RETURN(const auto loader,
                          Registry<DatasetLoader>::Get().Create(ToPluginConfig(config.dataset()), {}));
  MUSTER_ASSIGN_OR_RETURN(TrainTest data, loader->Load());
  if (const int64_t limit = config.train_limit(); limit > 0 && limit < data.train.size()) {
    Random random({.seed = seed, .purpose = Purpose::kTrainLimit});
    data.train = TakeSamples(data.train, random.Sample(data.train.size(), limit));
  }
  if (config.pool() > 1) {
    for (Dataset* part : {&data.train, &data.test}) {
      absl::StatusOr<Dataset> pooled = PoolImages(*part, config.pool());
      if (!pooled.ok()) return Annotate(pooled.status(), "data.pool");
      *part = *std::move(pooled);
    }
  }
  if (config.standardize()) Standardize(data);
  return data;
}

absl::StatusOr<std::shared_ptr<const TrainTest>> Samples(const v1::Data& config, uint64_t seed) {
  absl::StatusOr<TrainTest> samples = LoadSamples(config, seed);
  if (!samples.ok()) {
    // A missing data file is the user's to mend, and the field that named it says where.
    return Annotate(samples.status(), absl::StrCat("data.dataset (", config.dataset().name(), ")"));
  }
  return std::make_shared<const TrainTest>(*std::move(samples));
}

// What LoadSamples reads of a configuration.
std::string SamplesKey(const v1::Data& config, uint64_t seed) {
  v1::Data part;
  *part.mutable_dataset() = config.dataset();
  part.set_train_limit(config.train_limit());
  part.set_pool(config.pool());
  part.set_standardize(config.standardize());
  return absl::StrCat(ConfigToYaml(part), "seed: ", config.train_limit() > 0 ? seed : 0);
}

absl::StatusOr<FederatedData> Deal(std::shared_ptr<const TrainTest> samples, const v1::Data& config,
                                   const std::string& pinned_partition, uint64_t seed) {
  FederatedData data;
  data.samples = std::move(samples);
  const int64_t size = data.train().size();
  const bool holdout = config.trust().samples() > 0 && config.trust().source() == "holdout";

  if (!pinned_partition.empty()) {
    MUSTER_ASSIGN_OR_RETURN(const std::string json, ReadFile(pinned_partition));
    MUSTER_ASSIGN_OR_RETURN(data.dealt, PartitionFromJson(json, size, pinned_partition));
    if (holdout) {
      std::vector<uint32_t> taken;
      for (int64_t c = 0; c < data.dealt.clients(); ++c) {
        taken.insert(taken.end(), data.dealt.samples(c).begin(), data.dealt.samples(c).end());
      }
      MUSTER_ASSIGN_OR_RETURN(data.trust, HoldOut(Complement(size, taken), config.trust().samples(),
                                                  "training samples outside the pinned partition", seed));
    }
  } else {
    std::vector<uint32_t> all(static_cast<size_t>(size));
    std::iota(all.begin(), all.end(), 0U);
    if (holdout) {
      MUSTER_ASSIGN_OR_RETURN(data.trust, HoldOut(all, config.trust().samples(), "training", seed));
      all = Complement(size, data.trust);
    }
    const auto partitioner = Registry<Partitioner>::Get().Create(ToPluginConfig(config.partition()), {});
    if (!partitioner.ok()) return Annotate(partitioner.status(), "data.partition");
    absl::StatusOr<Partition> split =
        (*partitioner)->Split(WithoutInputs(data.train(), all), config.clients(), seed);
    if (!split.ok()) return split.status();
    if (holdout) {
      std::vector<uint32_t> list;
      for (int64_t c = 0; c < split->clients(); ++c) {
        list.clear();
        for (const uint32_t i : split->samples(c)) list.push_back(all[i]);
        data.dealt.AddClient(list);
      }
    } else {
      data.dealt = *std::move(split);
    }
  }

  const double share = config.validation_fraction();
  std::vector<uint32_t> training, validation;
  for (int64_t c = 0; c < data.dealt.clients(); ++c) {
    training.clear();
    validation.clear();
    if (share > 0) {
      SplitValidation(
          data.train(), data.dealt.samples(c), share,
          {.seed = seed, .purpose = Purpose::kValidationSplit, .client = static_cast<uint64_t>(c)}, training,
          validation);
    } else {
      training.assign(data.dealt.samples(c).begin(), data.dealt.samples(c).end());
    }
    if (static_cast<int64_t>(training.size()) < config.min_samples()) {
      ++data.dropped_clients;
      continue;
    }
    data.training.AddClient(training);
    if (share > 0) data.validation.AddClient(validation);
  }
  if (data.clients() == 0) {
    return InvalidInput(absl::StrCat("data.min_samples: no client holds ", config.min_samples(),
                                     " training samples; ask for fewer clients or smaller shares"));
  }
  if (config.trust().samples() > 0 && !holdout) {
    std::vector<uint32_t> pool;
    for (int64_t c = 0; c < data.validation.clients(); ++c) {
      pool.insert(pool.end(), data.validation.samples(c).begin(), data.validation.samples(c).end());
    }
    std::sort(pool.begin(), pool.end());
    MUSTER_ASSIGN_OR_RETURN(data.trust, HoldOut(pool, config.trust().samples(), "validation", seed));
  }
  return data;
}

}  // namespace

absl::StatusOr<FederatedData> BuildFederatedData(const v1::Data& config, const std::string& pinned_partition,
                                                 uint64_t seed) {
  MUSTER_ASSIGN_OR_RETURN(std::shared_ptr<const TrainTest> samples, Samples(config, seed));
  return Deal(std::move(samples), config, pinned_partition, seed);
}

absl::StatusOr<std::shared_ptr<const FederatedData>> FederatedDataCache::Get(
    const v1::Data& config, const std::string& pinned_partition, uint64_t seed) {
  std::shared_ptr<const FederatedData>& data =
      data_[absl::StrCat(ConfigToYaml(config), "pin: ", pinned_partition, "\nseed: ", seed)];
  if (data != nullptr) return data;
  std::shared_ptr<const TrainTest>& samples = samples_[SamplesKey(config, seed)];
  if (samples == nullptr) {
    MUSTER_ASSIGN_OR_RETURN(samples, Samples(config, seed));
  }
  MUSTER_ASSIGN_OR_RETURN(FederatedData dealt, Deal(samples, config, pinned_partition, seed));
  data = std::make_shared<const FederatedData>(std::move(dealt));
  return data;
}

std::vector<int64_t> ClassCounts(const Dataset& data, std::span<const uint32_t> samples) {
  std::vector<int64_t> counts(static_cast<size_t>(data.num_classes), 0);
  if (data.num_classes == 0) return counts;
  for (const uint32_t i : samples) ++counts[static_cast<size_t>(data.labels[i])];
  return counts;
}

}  // namespace muster
