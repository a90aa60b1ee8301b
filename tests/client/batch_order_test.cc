#include "client/batch_order.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace muster {
namespace {

TEST(BatchOrderTest, StepsForetellsWhenItIsDone) {
  for (const size_t size : {1U, 7U, 8U, 9U, 24U}) {
    std::vector<uint32_t> samples(size);
    std::iota(samples.begin(), samples.end(), 0U);
    for (const int64_t epochs : {1, 3}) {
      const TrainingJob job{.epochs = epochs};
      BatchOrder order(/*batch_size=*/8, /*shuffle=*/true);
      order.Start(job, samples);
      int64_t drawn = 0;
      while (!order.Done(epochs)) {
        order.Draw();
        ++drawn;
      }
      EXPECT_EQ(drawn, order.Steps(job, size)) << size << " samples, " << epochs << " epochs";
    }
    EXPECT_EQ(BatchOrder(8, true).Steps({.epochs = 3, .steps = 5}, size), 5);
  }
}

}  // namespace
}  // namespace muster
