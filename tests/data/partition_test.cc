#include "learning/partition.h"

#include <gmock/gmock.h>

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Partition, KeepsListsBackToBack) {
  Partition partition;
  EXPECT_EQ(partition.clients(), 0);
  partition.AddClient(std::vector<uint32_t>{3, 1});
  partition.AddClient({});
  partition.AddClient(std::vector<uint32_t>{2});
  EXPECT_EQ(partition.clients(), 3);
  EXPECT_EQ(partition.total_samples(), 3);
  EXPECT_THAT(partition.samples(0), ElementsAre(3, 1));
  EXPECT_TRUE(partition.samples(1).empty());
  EXPECT_THAT(partition.samples(2), ElementsAre(2));
}

TEST(PartitionJson, ReadsWhatItSays) {
  const auto partition = PartitionFromJson(R"({"clients": [[0, 4, 4], [], [2]]})", 5, "p.json");
  ASSERT_TRUE(partition.ok()) << partition.status();
  ASSERT_EQ(partition->clients(), 3);
  EXPECT_THAT(partition->samples(0), ElementsAre(0, 4, 4));
  EXPECT_TRUE(partition->samples(1).empty());
  EXPECT_THAT(partition->samples(2), ElementsAre(2));
}

TEST(PartitionJson, GoesRound) {
  Partition partition;
  partition.AddClient(std::vector<uint32_t>{3, 1, 4000000000});
  partition.AddClient({});
  const auto back = PartitionFromJson(PartitionToJson(partition), 4000000001, "p.json");
  ASSERT_TRUE(back.ok()) << back.status();
  ASSERT_EQ(back->clients(), 2);
  EXPECT_THAT(back->samples(0), ElementsAre(3, 1, 4000000000));
  EXPECT_TRUE(back->samples(1).empty());
}

struct BadJson {
  const char* name;
  std::string json;
  const char* message;
};
void PrintTo(const BadJson& param, std::ostream* out) { *out << param.name; }
class PartitionJsonRefuses : public ::testing::TestWithParam<BadJson> {};

TEST_P(PartitionJsonRefuses, WithTheReason) {
  const absl::Status status = PartitionFromJson(GetParam().json, 5, "p.json").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("p.json: "));
  EXPECT_THAT(Message(status), HasSubstr(GetParam().message));
  EXPECT_THAT(Message(status), ::testing::Not(HasSubstr("\n")));
}

INSTANTIATE_TEST_SUITE_P(
    All, PartitionJsonRefuses,
    ::testing::Values(
        BadJson{"empty", "", "not valid JSON at byte 1"},
        BadJson{"cut_off", R"({"clients": [[0, 1], [2)", "not valid JSON at byte 24"},
        BadJson{"html", "<html></html>", "not valid JSON at byte 1"},
        BadJson{"huge_number", R"({"clients": [[1e999]]})", "not valid JSON"},
        BadJson{"deep", std::string(100000, '['), "not valid JSON"},
        BadJson{"list", "[[0, 1]]", "one key 'clients'"},
        BadJson{"other_key", R"({"client": [[0]]})", "one key 'clients'"},
        BadJson{"more_keys", R"({"clients": [[0]], "seed": 1})", "one key 'clients'"},
        BadJson{"no_list", R"({"clients": {"0": [1]}})", "must be a list of at least one client"},
        BadJson{"no_clients", R"({"clients": []})", "at least one client"},
        BadJson{"flat", R"({"clients": [0, 1]})", "client 0 must be a list"},
        BadJson{"out_of_range", R"({"clients": [[0], [1, 5]]})", "entry 1 of client 1 is not a sample"},
        BadJson{"negative", R"({"clients": [[-1]]})", "whole numbers from 0 to 4"},
        BadJson{"fraction", R"({"clients": [[0.5]]})", "entry 0 of client 0"},
        BadJson{"text", R"({"clients": [["1"]]})", "entry 0 of client 0"},
        BadJson{"wraps", R"({"clients": [[4294967296]]})", "entry 0 of client 0"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace muster
