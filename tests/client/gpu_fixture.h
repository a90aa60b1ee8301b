// For tests on a real GPU: they are skipped where there is none.
#ifndef MUSTER_TESTS_CLIENT_GPU_FIXTURE_H_
#define MUSTER_TESTS_CLIENT_GPU_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "learning/device.h"

namespace muster {

class GpuFixture : public testing::Test {
 protected:
  void SetUp() override {
    auto found = ComputeDevice::Find("cuda", 0);
    if (!found.ok()) GTEST_SKIP() << found.status();
    device_ = *std::move(found);
  }
  std::shared_ptr<ComputeDevice> device_;
};

}  // namespace muster

#endif  // MUSTER_TESTS_CLIENT_GPU_FIXTURE_H_
