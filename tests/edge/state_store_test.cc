#include "client/state_store.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "gmock/gmock.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

class StateStoreTest : public testing::Test {
 protected:
  StateStoreTest() : path_(absl::StrCat(testing::TempDir(), "/muster_states_", ::getpid())) {
    std::filesystem::remove(path_);
  }
  ~StateStoreTest() override { std::filesystem::remove(path_); }

  std::unique_ptr<StateStore> Open() const {
    auto store = StateStore::Open(path_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  static State StateOf(int64_t client, int64_t round, size_t size = 5) {
    return {.vectors = {{"error", std::vector<float>(size, static_cast<float>(100 * client + round))}},
            .numbers = {{"round", static_cast<double>(round)}}};
  }
  static State Load(const StateStore& store, int64_t client, int64_t round) {
    const auto state = store.Load(client, round);
    EXPECT_TRUE(state.ok()) << state.status();
    return *state;
  }

  const std::string path_;
};

TEST_F(StateStoreTest, AClientWithoutStateHasAnEmptyOne) {
  const auto store = Open();
  EXPECT_TRUE(Load(*store, 3, 100).empty());
  EXPECT_EQ(store->clients(), 0);
}

TEST_F(StateStoreTest, ARoundDoneAgainStartsFromWhatWasBeforeIt) {
  const auto store = Open();
  for (const int64_t round : {2, 5, 9}) ASSERT_TRUE(store->Save(1, round, StateOf(1, round)).ok());
  EXPECT_EQ(Load(*store, 1, 10), StateOf(1, 9));
  EXPECT_EQ(Load(*store, 1, 9), StateOf(1, 5));  // round 9 was not committed
  ASSERT_TRUE(store->Save(1, 9, StateOf(1, 9, 3)).ok());
  EXPECT_EQ(Load(*store, 1, 10), StateOf(1, 9, 3));
  EXPECT_EQ(Load(*store, 1, 9), StateOf(1, 5));
}

TEST_F(StateStoreTest, IsTheSameAfterBeingOpenedAgain) {
  {
    const auto store = Open();
    for (int64_t round = 0; round < 20; ++round) {
      for (int64_t client = 0; client < 7; ++client) {
        ASSERT_TRUE(
            store->Save(client, round, StateOf(client, round, static_cast<size_t>(1 + (client * round) % 40)))
                .ok());
      }
    }
  }
  const auto store = Open();
  EXPECT_EQ(store->clients(), 7);
  for (int64_t client = 0; client < 7; ++client) {
    EXPECT_EQ(Load(*store, client, 20), StateOf(client, 19, static_cast<size_t>(1 + (client * 19) % 40)));
    EXPECT_EQ(Load(*store, client, 19), StateOf(client, 18, static_cast<size_t>(1 + (client * 18) % 40)));
  }
}

TEST_F(StateStoreTest, TheFileDoesNotGrowWithRounds) {
  const auto store = Open();
  for (int64_t round = 0; round < 2; ++round) ASSERT_TRUE(store->Save(4, round, StateOf(4, round)).ok());
  const int64_t size = store->size_bytes();
  for (int64_t round = 2; round < 50; ++round) ASSERT_TRUE(store->Save(4, round, StateOf(4, round)).ok());
  EXPECT_EQ(store->size_bytes(), size);
}

TEST_F(StateStoreTest, ARecordCutOffAtTheEndIsNone) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Save(1, 0, StateOf(1, 0)).ok());
    ASSERT_TRUE(store->Save(2, 0, StateOf(2, 0)).ok());
  }
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 3);
  const auto store = Open();
  EXPECT_EQ(Load(*store, 1, 1), StateOf(1, 0));
  EXPECT_TRUE(Load(*store, 2, 1).empty());
  ASSERT_TRUE(store->Save(2, 1, StateOf(2, 1)).ok());
  EXPECT_EQ(Load(*store, 2, 2), StateOf(2, 1));
}

TEST_F(StateStoreTest, RefusesAForeignFileAndASecondProcess) {
  ASSERT_TRUE(WriteFileAtomic(path_, "name: quickstart\n").ok());
  EXPECT_THAT(Message(StateStore::Open(path_).status()), HasSubstr("is not a store"));
  std::filesystem::remove(path_);
  const auto store = Open();
  EXPECT_THAT(Message(StateStore::Open(path_).status()), HasSubstr("in use"));
}

TEST_F(StateStoreTest, ANamelessOneLeavesNoFile) {
  const auto store = StateStore::Open("");
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE((*store)->Save(1, 0, StateOf(1, 0)).ok());
  EXPECT_EQ(Load(**store, 1, 1), StateOf(1, 0));
}

}  // namespace
}  // namespace muster
