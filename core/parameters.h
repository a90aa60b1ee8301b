// A model is ONE flat vector of float32. A Layout says what each part of it means.
#ifndef MUSTER_CORE_PARAMETERS_H_
#define MUSTER_CORE_PARAMETERS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace muster {

// Names and places of a model's tensors in its flat vector: parameters first in module order, then floating
// buffers. Two models with the same entries have the same fingerprint, on every machine.
struct Layout {
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
    int64_t offset = 0;  // in elements
    bool trainable =
        true;  // false: a buffer (batch-norm statistics); averaged like a parameter, never stepped

    int64_t size() const;  // number of elements
  };

  // Appends an entry behind the last one and refreshes `size` and `fingerprint`.
  void Add(std::string name, std::vector<int64_t> shape, bool trainable);

  std::vector<Entry> entries;
  int64_t size = 0;          // number of elements of the flat vector
  uint64_t fingerprint = 0;  // over names, shapes, kinds and order (first 8 bytes of SHA-256)
};

using Parameters = std::span<float>;
using ConstParameters = std::span<const float>;

}  // namespace muster

#endif  // MUSTER_CORE_PARAMETERS_H_
