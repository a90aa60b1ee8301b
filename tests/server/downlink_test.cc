#include "server/rounds/downlink.h"

#include <cmath>

#include "core/random.h"
#include "gmock/gmock.h"
#include "tests/server/fakes.h"

namespace muster {
namespace {

class DownlinkTest : public testing::TestWithParam<std::string> {
 protected:
  static std::vector<float> Model(int64_t round) {
    std::vector<float> model;
    Random random({.seed = 5});
    for (int i = 0; i < 400; ++i) {
      model.push_back(
          static_cast<float>(random.Normal() * (1 + std::exp(-0.3 * static_cast<double>(round)))));
    }
    return model;
  }
  static Layout BigLayout() {
    Layout layout;
    layout.Add("weight", {20, 20}, true);
    return layout;
  }
  static Task TaskOf(const Downlink& downlink) {
    Task task;
    downlink.FillIn(task);
    return task;
  }

  const Layout layout_ = BigLayout();
  const std::unique_ptr<Compressor> compressor_ =
      *Registry<Compressor>::Get().Create({.name = GetParam(), .options = {}}, {});
};

// A client that follows the deltas has the shadow's bits; what was lost comes later, so that the shadow gets
// to a model that stays.
TEST_P(DownlinkTest, DeltasLeadToTheShadowAndTheShadowToTheModel) {
  Downlink downlink(*compressor_, layout_);
  ASSERT_TRUE(downlink.Advance(0, 1, Model(0)).ok());
  EXPECT_EQ(*TaskOf(downlink).model, Model(0));
  std::vector<float> client = Model(0);
  for (int64_t round = 1; round < 200; ++round) {
    ASSERT_TRUE(downlink.Advance(round, 1, Model(round)).ok());
    const Task task = TaskOf(downlink);
    EXPECT_EQ(task.model_version, round);
    ASSERT_FALSE(task.deltas.empty());
    ASSERT_EQ(task.deltas.back().version, round);
    const auto delta = DecodePayload(*task.deltas.back().payload, layout_);
    ASSERT_TRUE(delta.ok());
    for (size_t i = 0; i < client.size(); ++i) client[i] += (*delta)[i];
    ASSERT_EQ(client, *task.model) << round;
  }
  const std::vector<float> goal = Model(199);
  double distance = 0, norm = 0;
  for (size_t i = 0; i < goal.size(); ++i) {
    distance += std::pow(client[i] - goal[i], 2);
    norm += std::pow(goal[i], 2);
  }
  EXPECT_LT(distance, 1e-3 * norm);
}

TEST_P(DownlinkTest, SavedAndLoadedGoesOnWithTheSameBits) {
  Downlink whole(*compressor_, layout_);
  for (int64_t round = 0; round < 4; ++round) ASSERT_TRUE(whole.Advance(round, 1, Model(round)).ok());
  Downlink resumed(*compressor_, layout_);
  ASSERT_TRUE(resumed.Load(whole.Save()).ok());
  for (Downlink* downlink : {&whole, &resumed}) ASSERT_TRUE(downlink->Advance(4, 1, Model(4)).ok());
  EXPECT_EQ(SerializeState(resumed.Save()),
            SerializeState(whole.Save()));  // bits, whatever they mean as numbers
  for (int64_t held = -1; held <= 4; ++held) {
    EXPECT_EQ(DownloadBytes(TaskOf(resumed), held, layout_), DownloadBytes(TaskOf(whole), held, layout_));
  }
}

INSTANTIATE_TEST_SUITE_P(Compressors, DownlinkTest, testing::Values("top_k", "float16", "quantize"));

TEST(DownloadBytes, IsTheDeltasMissedOrTheModelWhicheverIsFewer) {
  const Layout layout = test::SmallLayout();  // 24 + 32 bytes
  const auto payload = [](size_t size) {
    return std::make_shared<const Payload>(Payload{.bytes = std::string(size, 'x')});
  };
  Task task;
  EXPECT_EQ(DownloadBytes(task, -1, layout), 56);
  task.vectors["control"] = std::make_shared<const std::vector<float>>(3, 0.0F);
  EXPECT_EQ(DownloadBytes(task, -1, layout), 68);
  task.vectors.clear();
  task.model_version = 9;
  task.deltas = {{7, payload(20)}, {8, payload(30)}, {9, payload(10)}};
  EXPECT_EQ(DownloadBytes(task, 9, layout), 0);
  EXPECT_EQ(DownloadBytes(task, 8, layout), 10);
  EXPECT_EQ(DownloadBytes(task, 7, layout), 40);
  EXPECT_EQ(DownloadBytes(task, 6, layout), 56);  // 60 bytes of deltas
  EXPECT_EQ(DownloadBytes(task, 5, layout), 56);  // the first delta is gone
  EXPECT_EQ(DownloadBytes(task, -1, layout), 56);
}

}  // namespace
}  // namespace muster
