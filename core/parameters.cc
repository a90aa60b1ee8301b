#include "core/parameters.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/hash.h"

namespace muster {

int64_t Layout::Entry::size() const {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

void Layout::Add(std::string name, std::vector<int64_t> shape, bool trainable) {
  entries.push_back({std::move(name), std::move(shape), size, trainable});
  size += entries.back().size();
  std::string description;
  for (const Entry& entry : entries) {
    absl::StrAppend(&description, entry.name, entry.trainable ? " p " : " b ",
                    absl::StrJoin(entry.shape, "x"), "\n");
  }
  const std::string digest = Sha256(description);
  std::memcpy(&fingerprint, digest.data(), sizeof fingerprint);
}

}  // namespace muster
