// A curve of bounded size that grows for ever.
#ifndef MUSTER_SERVER_MONITORING_THINNED_SERIES_H_
#define MUSTER_SERVER_MONITORING_THINNED_SERIES_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace muster {

// What of a series a reader has. One made anew has nothing.
struct SeriesCursor {
  int64_t generation = -1;
  size_t points = 0;
  int64_t added = 0;
};

// Keeps every point until there are `most`, then every second one, every fourth, ...; and always the last.
// Not thread-safe.
class ThinnedSeries {
 public:
  using Point = std::vector<double>;  // columns; NaN for none

  explicit ThinnedSeries(size_t most) : most_(most) {}

  void Add(Point point) {
    if (added_ % stride_ == 0) {
      if (points_.size() == most_) Halve();
      if (added_ % stride_ == 0) points_.push_back(point);
    }
    ++added_;
    last_ = std::move(point);
  }
  const std::vector<Point>& points() const { return points_; }  // without the last, maybe
  const Point& last() const { return last_; }
  // Points [first, end) are new to the reader; if first is 0, all that it has is to be replaced.
  bool IsNewTo(const SeriesCursor& cursor) const { return cursor.added != added_; }
  size_t FirstNewTo(const SeriesCursor& cursor) const {
    return cursor.generation == generation_ ? cursor.points : 0;
  }
  SeriesCursor End() const { return {.generation = generation_, .points = points_.size(), .added = added_}; }

 private:
  void Halve() {
    for (size_t i = 1; 2 * i < points_.size(); ++i) points_[i] = std::move(points_[2 * i]);
    points_.resize((points_.size() + 1) / 2);
    stride_ *= 2;
    ++generation_;
  }

  const size_t most_;
  std::vector<Point> points_;
  Point last_;
  int64_t stride_ = 1;
  int64_t added_ = 0;
  int64_t generation_ = 0;
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_THINNED_SERIES_H_
