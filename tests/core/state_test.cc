#include "core/state.h"

#include <cmath>
#include <limits>

#include "core/random.h"
#include "gmock/gmock.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

State Example() {
  return {.vectors = {{"a", {1, -0.0F, std::numeric_limits<float>::denorm_min()}}, {"b/c", {}}},
          .numbers = {{"steps", 0.1}, {"a", -INFINITY}}};
}

TEST(StateTest, RoundTrips) {
  for (const State& state : {State(), Example()}) {
    const auto parsed = ParseState(SerializeState(state));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, state);
  }
}

TEST(StateTest, RefusesEveryCutAndEveryFlippedBit) {
  const std::string bytes = SerializeState(Example());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(ParseState(bytes.substr(0, size)).ok()) << size;
  EXPECT_FALSE(ParseState(bytes + '\0').ok());
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string altered = bytes;
    altered[bit / 8] = static_cast<char>(altered[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(ParseState(altered).ok()) << bit;
  }
}

TEST(StateTest, SaysWhatIsWrong) {
  EXPECT_THAT(Message(ParseState("").status()), HasSubstr("magic"));
  std::string other = SerializeState(Example());
  other[4] = 9;
  EXPECT_THAT(Message(ParseState(other).status()), HasSubstr("version 9"));
}

TEST(StateTest, PartsAreKeptApartByPrefix) {
  State all;
  PutUnder("feedback", Example(), all);
  PutUnder("feed", {.vectors = {{"a", {7}}}, .numbers = {}}, all);
  EXPECT_EQ(TakeUnder("feedback", all), Example());
  EXPECT_TRUE(TakeUnder("feedback", all).empty());
  EXPECT_EQ(TakeUnder("feed", all), (State{.vectors = {{"a", {7}}}, .numbers = {}}));
  EXPECT_TRUE(all.empty());
}

}  // namespace
}  // namespace muster
