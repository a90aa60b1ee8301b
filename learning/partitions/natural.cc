// The clients that the data came from: a writer, a patient, a region.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "core/random.h"
#include "learning/datasets/data_file.h"
#include "learning/datasets/idx_file.h"
#include "learning/partitions/dealing.h"

namespace muster {
namespace {

struct NaturalOptions {
  std::string group;
  std::string file;
  int64_t column = -1;
  bool sample_clients = false;
};

class Natural final : public Partitioner {
 public:
  static absl::StatusOr<std::unique_ptr<Partitioner>> Create(const NaturalOptions& options,
                                                             const Context& context) {
    if (!options.group.empty() && !options.file.empty()) {
      return InvalidInput("group: give a group of the data or a file with ids, not both");
    }
    return std::make_unique<Natural>(options, context);
  }
  Natural(const NaturalOptions& options, const Context& context)
      : options_(options), folder_(context.folder) {}

  absl::StatusOr<Partition> Split(const Dataset& data, int64_t clients, uint64_t seed) const override {
    MUSTER_RETURN_IF_ERROR(RequireSamples(data, clients, 0));
    MUSTER_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, Ids(data));
    std::map<int64_t, std::vector<uint32_t>> samples;
    for (size_t i = 0; i < ids.size(); ++i) samples[ids[i]].push_back(static_cast<uint32_t>(i));
    std::vector<std::vector<uint32_t>> dealt;
    for (auto& [id, list] : samples) dealt.push_back(std::move(list));
    const auto count = static_cast<int64_t>(dealt.size());
    if (!options_.sample_clients || clients >= count) return SortedPartition(std::move(dealt));

    std::vector<int64_t> kept = Random({seed, Purpose::kPartition}).Sample(count, clients);
    std::sort(kept.begin(), kept.end());
    std::vector<std::vector<uint32_t>> subset;
    for (const int64_t client : kept) subset.push_back(std::move(dealt[client]));
    return SortedPartition(std::move(subset));
  }

 private:
  absl::StatusOr<std::vector<int64_t>> Ids(const Dataset& data) const {
    if (!options_.file.empty()) return ReadIds(PathIn(folder_, options_.file), options_.column, data.size());
    if (data.groups.empty()) {
      return InvalidInput(
          "data.partition: the data know no natural clients; give partition.file with one id a sample");
    }
    if (options_.group.empty() && data.groups.size() == 1) return data.groups.begin()->second;
    const auto found = data.groups.find(options_.group);
    if (found != data.groups.end()) return found->second;
    std::vector<std::string> names;
    for (const auto& [name, ids] : data.groups) names.push_back(name);
    return InvalidInput(
        absl::StrCat("data.partition.group: ", options_.group.empty() ? "is not given" : "unknown '",
                     options_.group, options_.group.empty() ? "" : "'", Suggestion(options_.group, names)));
  }

  const NaturalOptions options_;
  const std::string folder_;
};

MUSTER_REGISTER(Partitioner,
                Plugin<NaturalOptions>("natural",
                                       "The clients the data came from, in ascending order of their ids")
                    .Option("group", &NaturalOptions::group,
                            "grouping of the dataset: writer, record, a column; \"\": its only one")
                    .Option("file", &NaturalOptions::file,
                            "ids instead: text with one integer a sample, or an IDX file", FilePath())
                    .Option("column", &NaturalOptions::column,
                            "column of the ids in a 2-D IDX file; -1: the file is 1-D", AtLeast(-1))
                    .Option("sample_clients", &NaturalOptions::sample_clients,
                            "keep a random data.clients of them; false: keep all, whatever data.clients says")
                    .Make<Natural>());

}  // namespace
}  // namespace muster
