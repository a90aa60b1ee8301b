// What rank 0 and its workers say to each other: there and back, and nothing that is cut off or altered.
#include "simulation/worker_messages.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

namespace muster {
namespace {

v1::ClientAnswer Place() {
  v1::ClientAnswer answer;
  answer.set_bout(3);
  answer.set_item(5);
  return answer;
}

TEST(WorkerMessagesTest, AnUpdateArrivesAsItWas) {
  TrainedClient sent;
  sent.if_taken.vectors["error"] = {1, -2.5F};
  sent.if_refused.numbers["version"] = 4;
  sent.outcome = Update{.client = 9,
                        .num_samples = 12,
                        .payload = {.bytes = std::string("a\0b", 3)},
                        .metrics = {0.5, 7, 0.25},
                        .extras = {{"control", {.bytes = "xyz"}}, {"other", {.bytes = ""}}},
                        .numbers = {{"loss", {1.5, 2}}},
                        .folded = Update::Folded{400, 2.5, 0.125}};
  const std::string bytes = PackAnswer(Place(), sent);
  const auto message = Unpack<v1::FromWorker>(bytes);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->message.answer().bout(), 3);
  EXPECT_EQ(message->message.answer().item(), 5);
  const auto trained = UnpackTrained(message->message.answer(), 9, message->blobs);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(trained->if_taken, sent.if_taken);
  EXPECT_EQ(trained->if_refused, sent.if_refused);
  const auto& update = std::get<Update>(trained->outcome);
  EXPECT_EQ(update.client, 9);
  EXPECT_EQ(update.num_samples, 12);
  EXPECT_EQ(update.payload.bytes, std::string("a\0b", 3));
  EXPECT_EQ(update.metrics.train_loss, 0.5);
  EXPECT_EQ(update.metrics.steps, 7);
  EXPECT_EQ(update.extras.at("control").bytes, "xyz");
  EXPECT_EQ(update.extras.at("other").bytes, "");
  EXPECT_EQ(update.numbers, (Numbers{{"loss", {1.5, 2}}}));
  ASSERT_TRUE(update.folded.has_value());
  EXPECT_EQ(update.folded->payload_bytes, 400);
  EXPECT_EQ(update.folded->norm, 2.5);
  EXPECT_EQ(update.folded->seconds, 0.125);
  // Counted as if the payload were here.
  EXPECT_EQ(update.upload_bytes(), 400 + 3 + static_cast<int64_t>(2 * sizeof(double)));
}

TEST(WorkerMessagesTest, SumsArriveAsTheyWere) {
  const std::vector<int64_t> sums = {1, -2, int64_t{1} << 62};
  const std::string bytes = PackSums(8, sums);
  const auto message = Unpack<v1::FromWorker>(bytes);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->message.sums().bout(), 8);
  const auto received = UnpackSums(message->blobs);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(*received, sums);
  const std::string_view odd = "123456789";
  EXPECT_FALSE(UnpackSums({&odd, 1}).ok());
  EXPECT_FALSE(UnpackSums({}).ok());
}

TEST(WorkerMessagesTest, AFailureAndAnHonestUpdateArriveAsTheyWere) {
  TrainedClient sent;
  sent.outcome = ClientFailure{2, "train", "INVALID_ARGUMENT", "diverged"};
  const std::string failed = PackAnswer(Place(), sent);
  const auto failure = Unpack<v1::FromWorker>(failed);
  ASSERT_TRUE(failure.ok());
  const auto trained = UnpackTrained(failure->message.answer(), 2, failure->blobs);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(std::get<ClientFailure>(trained->outcome).stage, "train");
  EXPECT_EQ(std::get<ClientFailure>(trained->outcome).message, "diverged");

  const std::string honest = PackAnswer(Place(), absl::StatusOr<std::vector<float>>({1, 2, -3}));
  const auto answer = Unpack<v1::FromWorker>(honest);
  ASSERT_TRUE(answer.ok());
  const auto update = UnpackHonest(answer->message.answer(), answer->blobs);
  ASSERT_TRUE(update.ok() && update->ok());
  EXPECT_EQ(**update, (std::vector<float>{1, 2, -3}));
  EXPECT_FALSE(UnpackTrained(answer->message.answer(), 2, answer->blobs).ok());
}

TEST(WorkerMessagesTest, ATaskKeepsItsShape) {
  VirtualTask task{.task = {.round = 7,
                            .seed = 11,
                            .model = std::make_shared<const std::vector<float>>(4, 1.0F),
                            .epochs = 2,
                            .learning_rate_factor = 0.5,
                            .deadline_seconds = 3,
                            .statistics = {"local_loss"}},
                   .cohort = 6};
  task.task.vectors["control"] = std::make_shared<const std::vector<float>>(2, 1.0F);
  task.collusions[1] = {.members = 3, .mean = std::vector<float>(4), .deviation = std::vector<float>(4)};
  auto folding = std::make_shared<Folding>();
  folding->cohort = {{4, 70}, {9, 20}};
  folding->uniform_weights = true;
  folding->weights = {0.5, 2};
  folding->norms = true;
  task.task.folding = folding;
  const auto received = FromMessage(ToMessage(task, 21));
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->task.round, 7);
  EXPECT_EQ(received->task.seed, 11U);
  EXPECT_EQ(received->task.epochs, 2);
  EXPECT_EQ(received->task.learning_rate_factor, 0.5);
  EXPECT_EQ(received->task.deadline_seconds, 3);
  EXPECT_EQ(received->task.statistics, task.task.statistics);
  EXPECT_EQ(received->cohort, 6);
  EXPECT_EQ(received->task.model->size(), 4U);
  EXPECT_EQ(received->task.vectors.at("control")->size(), 2U);
  EXPECT_EQ(received->collusions.at(1).members, 3);
  EXPECT_EQ(received->collusions.at(1).deviation.size(), 4U);
  ASSERT_NE(received->task.folding, nullptr);
  ASSERT_EQ(received->task.folding->cohort.size(), 2U);
  EXPECT_EQ(received->task.folding->cohort[1].id, 9);
  EXPECT_EQ(received->task.folding->cohort[1].num_samples, 20);
  EXPECT_TRUE(received->task.folding->uniform_weights);
  EXPECT_EQ(received->task.folding->weights, folding->weights);
  EXPECT_TRUE(received->task.folding->norms);
  task.task.folding = nullptr;
  EXPECT_EQ(FromMessage(ToMessage(task, 21))->task.folding, nullptr);

  task.task.folding = folding;
  v1::WorkerTask other_cohort = ToMessage(task, 21);
  other_cohort.mutable_folding()->add_weights(1);
  EXPECT_FALSE(FromMessage(other_cohort).ok());
  v1::WorkerTask impossible = ToMessage(task, 21);
  impossible.set_model_elements(-1);
  EXPECT_FALSE(FromMessage(impossible).ok());
}

TEST(WorkerMessagesTest, CutOffOrLongerMessagesAreRefused) {
  TrainedClient sent;
  sent.if_taken.numbers["n"] = 1;
  sent.outcome = Update{.client = 1, .payload = {.bytes = "payload"}, .metrics = {}};
  const std::string bytes = PackAnswer(Place(), sent);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(Unpack<v1::FromWorker>(std::string_view(bytes).substr(0, length)).ok()) << length;
  }
  EXPECT_FALSE(Unpack<v1::FromWorker>(bytes + 'x').ok());
  const auto whole = Unpack<v1::FromWorker>(bytes);
  ASSERT_TRUE(whole.ok());
  EXPECT_FALSE(UnpackTrained(whole->message.answer(), 1, std::span(whole->blobs).first(2)).ok());
}

}  // namespace
}  // namespace muster
