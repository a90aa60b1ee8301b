#include "core/magnitude.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace muster {
namespace {

TEST(LargestMagnitude, FindsItAnywhere) {
  EXPECT_EQ(LargestMagnitude({}), 0);
  for (size_t at = 0; at < 100; ++at) {
    std::vector<float> x(100, 0.5f);
    x[at] = at % 2 == 0 ? 3 : -3;
    EXPECT_EQ(LargestMagnitude(x), 3) << at;
    x[at] = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(LargestMagnitude(x), std::numeric_limits<float>::infinity()) << at;
    x[(at + 50) % 100] = std::nanf("");
    EXPECT_TRUE(std::isnan(LargestMagnitude(x))) << at;
  }
}

}  // namespace
}  // namespace muster
