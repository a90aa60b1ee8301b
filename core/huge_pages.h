// Memory for vectors of many megabytes that are walked again and again: on large pages, where the system has
// them, the first touch and every jump cost less.
#ifndef MUSTER_CORE_HUGE_PAGES_H_
#define MUSTER_CORE_HUGE_PAGES_H_

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace muster {

// A standard allocator. Small allocations are ordinary ones.
template <typename T>
struct HugePages {
  using value_type = T;
  static constexpr size_t kPage = size_t{1} << 21;

  HugePages() = default;
  template <typename U>
  explicit HugePages(const HugePages<U>& /*other*/) {}

  T* allocate(size_t count) {
    if (count * sizeof(T) < 2 * kPage) return static_cast<T*>(::operator new(count * sizeof(T)));
    void* const memory = ::operator new (count * sizeof(T), std::align_val_t{kPage});
#ifdef MADV_HUGEPAGE
    madvise(memory, count * sizeof(T), MADV_HUGEPAGE);  // a wish: nothing is wrong if it is not granted
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) {
    if (count * sizeof(T) < 2 * kPage) {
      ::operator delete(memory);
    } else {
      ::operator delete (memory, std::align_val_t{kPage});
    }
  }
  friend bool operator==(const HugePages&, const HugePages&) { return true; }
};

}  // namespace muster

#endif  // MUSTER_CORE_HUGE_PAGES_H_
