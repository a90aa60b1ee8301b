#include "simulation/worker_messages.h"

#include <cstring>
#include <memory>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 34;  // 64 GiB of float32

std::string_view Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}
std::span<char> MutableBytes(std::vector<float>& values) {
  return {reinterpret_cast<char*>(values.data()), values.size() * sizeof(float)};
}

absl::Status Malformed(const char* what) {
  return InvalidInput(absl::StrCat("a message between workers: ", what));
}

}  // namespace

template <typename Message>
std::string Pack(Message message, std::span<const std::string_view> blobs) {
  size_t total = sizeof(uint32_t);
  for (const std::string_view blob : blobs) {
    message.add_blobs(static_cast<int64_t>(blob.size()));
    total += blob.size();
  }
  const auto head = static_cast<uint32_t>(message.ByteSizeLong());
  std::string bytes;
  bytes.reserve(total + head);
  bytes.append(reinterpret_cast<const char*>(&head), sizeof head);
  message.AppendToString(&bytes);
  for (const std::string_view blob : blobs) bytes.append(blob);
  return bytes;
}
template std::string Pack(v1::ToWorker, std::span<const std::string_view>);
template std::string Pack(v1::FromWorker, std::span<const std::string_view>);

template <typename Message>
absl::StatusOr<Unpacked<Message>> Unpack(std::string_view bytes) {
  uint32_t head = 0;
  if (bytes.size() < sizeof head) return Malformed("cut off");
  std::memcpy(&head, bytes.data(), sizeof head);
  bytes.remove_prefix(sizeof head);
  Unpacked<Message> result;
  if (head > bytes.size() || !result.message.ParseFromArray(bytes.data(), static_cast<int>(head))) {
    return Malformed("no such message");
  }
  bytes.remove_prefix(head);
  for (const int64_t size : result.message.blobs()) {
    if (size < 0 || static_cast<uint64_t>(size) > bytes.size()) return Malformed("cut off");
    result.blobs.push_back(bytes.substr(0, static_cast<size_t>(size)));
    bytes.remove_prefix(static_cast<size_t>(size));
  }
  if (!bytes.empty()) return Malformed("longer than it says");
  return result;
}
template absl::StatusOr<Unpacked<v1::ToWorker>> Unpack(std::string_view);
template absl::StatusOr<Unpacked<v1::FromWorker>> Unpack(std::string_view);

v1::WorkerTask ToMessage(const VirtualTask& virtual_task, int64_t number) {
  const Task& task = virtual_task.task;
  v1::WorkerTask message;
  message.set_number(number);
  message.set_round(task.round);
  message.set_seed(task.seed);
  message.set_epochs(task.epochs);
  message.set_steps(task.steps);
  message.set_learning_rate_factor(task.learning_rate_factor);
  message.set_deadline_seconds(task.deadline_seconds);
  for (const std::string& name : task.statistics) message.add_statistics(name);
  message.set_cohort(virtual_task.cohort);
  message.set_model_elements(static_cast<int64_t>(task.model->size()));
  for (const auto& [name, values] : task.vectors) {
    v1::TaskVector& vector = *message.add_vectors();
    vector.set_name(name);
    vector.set_elements(static_cast<int64_t>(values->size()));
  }
  for (const auto& [group, collusion] : virtual_task.collusions) {
    v1::TaskCollusion& entry = *message.add_collusions();
    entry.set_group(group);
    entry.set_members(collusion.members);
  }
  if (task.folding != nullptr) {
    v1::TaskFolding& folding = *message.mutable_folding();
    for (const ClientInfo& client : task.folding->cohort) {
      folding.add_clients(client.id);
      folding.add_samples(client.num_samples);
    }
    folding.set_uniform_weights(task.folding->uniform_weights);
    if (const auto& weights = task.folding->weights; weights) {
      folding.mutable_weights()->Assign(weights->begin(), weights->end());
    }
    folding.set_norms(task.folding->norms);
  }
  return message;
}

absl::StatusOr<VirtualTask> FromMessage(const v1::WorkerTask& message) {
  const auto zeros = [](int64_t elements) { return std::vector<float>(static_cast<size_t>(elements)); };
  const int64_t size = message.model_elements();
  if (size < 0 || size > kMaxElements) return Malformed("a model of impossible size");
  VirtualTask result{.task = {.round = message.round(),
                              .seed = message.seed(),
                              .model = std::make_shared<std::vector<float>>(zeros(size)),
                              .epochs = message.epochs(),
                              .steps = message.steps(),
                              .learning_rate_factor = message.learning_rate_factor(),
                              .deadline_seconds = message.deadline_seconds(),
                              .statistics = {message.statistics().begin(), message.statistics().end()}},
                     .cohort = message.cohort()};
  if (message.has_folding()) {
    const v1::TaskFolding& told = message.folding();
    const int cohort = told.clients_size();
    if (told.samples_size() != cohort || (told.weights_size() != 0 && told.weights_size() != cohort)) {
      return Malformed("samples or weights of another cohort");
    }
    auto folding = std::make_shared<Folding>();
    for (int i = 0; i < cohort; ++i) folding->cohort.push_back({told.clients(i), told.samples(i)});
    folding->uniform_weights = told.uniform_weights();
    if (told.weights_size() > 0) folding->weights.emplace(told.weights().begin(), told.weights().end());
    folding->norms = told.norms();
    result.task.folding = std::move(folding);
  }
  for (const v1::TaskVector& vector : message.vectors()) {
    if (vector.elements() < 0 || vector.elements() > kMaxElements) return Malformed("an impossible vector");
    result.task.vectors[vector.name()] = std::make_shared<std::vector<float>>(zeros(vector.elements()));
  }
  for (const v1::TaskCollusion& collusion : message.collusions()) {
    result.collusions[collusion.group()] = {
        .members = collusion.members(), .mean = zeros(size), .deviation = zeros(size)};
  }
  return result;
}

// Vectors are immutable once the task is complete. At process 0 they are complete before, and only read.
absl::Status BroadcastVectors(Collective& collective, VirtualTask& task) {
  const auto broadcast = [&collective](const std::vector<float>& values) {
    if (values.empty()) return absl::OkStatus();
    return collective.Broadcast(MutableBytes(const_cast<std::vector<float>&>(values)));
  };
  MUSTER_RETURN_IF_ERROR(broadcast(*task.task.model));
  for (const auto& [name, values] : task.task.vectors) MUSTER_RETURN_IF_ERROR(broadcast(*values));
  for (const auto& [group, collusion] : task.collusions) {
    MUSTER_RETURN_IF_ERROR(broadcast(collusion.mean));
    MUSTER_RETURN_IF_ERROR(broadcast(collusion.deviation));
  }
  return absl::OkStatus();
}

std::string PackState(const State& state) { return state.empty() ? "" : SerializeState(state); }

absl::StatusOr<State> UnpackState(std::string_view bytes) {
  return bytes.empty() ? State() : ParseState(bytes);
}

namespace {

std::string PackAnswer(v1::ClientAnswer answer, std::span<const std::string_view> blobs) {
  v1::FromWorker message;
  *message.mutable_answer() = std::move(answer);
  return Pack(std::move(message), blobs);
}

}  // namespace

std::string PackAnswer(v1::ClientAnswer answer, const TrainedClient& trained) {
  const std::string if_taken = PackState(trained.if_taken), if_refused = PackState(trained.if_refused);
  std::vector<std::string_view> blobs = {if_taken, if_refused};
  if (const auto* failure = std::get_if<ClientFailure>(&trained.outcome)) {
    v1::ClientFailed& failed = *answer.mutable_failed();
    failed.set_stage(failure->stage);
    failed.set_code(failure->code);
    failed.set_message(failure->message);
    return PackAnswer(std::move(answer), blobs);
  }
  const auto& update = std::get<Update>(trained.outcome);
  v1::ClientUpdate& message = *answer.mutable_update();
  message.set_num_samples(update.num_samples);
  message.set_train_loss(update.metrics.train_loss);
  message.set_steps(update.metrics.steps);
  message.set_seconds(update.metrics.seconds);
  blobs.push_back(update.payload.view());
  for (const auto& [name, payload] : update.extras) {
    message.add_extras(name);
    blobs.push_back(payload.view());
  }
  if (update.folded) {
    v1::FoldedUpdate& folded = *message.mutable_folded();
    folded.set_payload_bytes(update.folded->payload_bytes);
    folded.set_norm(update.folded->norm);
    folded.set_seconds(update.folded->seconds);
  }
  for (const auto& [name, values] : update.numbers) {
    (*message.mutable_numbers())[name].mutable_values()->Assign(values.begin(), values.end());
  }
  return PackAnswer(std::move(answer), blobs);
}

std::string PackSums(int64_t bout, std::span<const int64_t> sums) {
  v1::FromWorker message;
  message.mutable_sums()->set_bout(bout);
  const std::string_view bytes(reinterpret_cast<const char*>(sums.data()), sums.size_bytes());
  return Pack(std::move(message), {&bytes, 1});
}

absl::StatusOr<std::vector<int64_t>> UnpackSums(std::span<const std::string_view> blobs) {
  if (blobs.size() != 1 || blobs[0].size() % sizeof(int64_t) != 0) return Malformed("sums of an odd size");
  std::vector<int64_t> sums(blobs[0].size() / sizeof(int64_t));
  std::memcpy(sums.data(), blobs[0].data(), blobs[0].size());
  return sums;
}

std::string PackAnswer(v1::ClientAnswer answer, const absl::StatusOr<std::vector<float>>& honest) {
  if (!honest.ok()) {
    v1::ClientFailed& failed = *answer.mutable_failed();
    failed.set_code(absl::StatusCodeToString(honest.status().code()));
    failed.set_message(Message(honest.status()));
    return PackAnswer(std::move(answer), std::span<const std::string_view>());
  }
  answer.mutable_honest();
  const std::string_view update = Bytes(*honest);
  return PackAnswer(std::move(answer), {&update, 1});
}

absl::StatusOr<TrainedClient> UnpackTrained(const v1::ClientAnswer& answer, ClientId client,
                                            std::span<const std::string_view> blobs) {
  const bool has_update = answer.has_update();
  if (!has_update && !answer.has_failed()) return Malformed("an answer of another kind");
  const size_t expected = has_update ? 3 + static_cast<size_t>(answer.update().extras_size()) : 2;
  if (blobs.size() != expected) return Malformed("an answer with another number of blobs");
  TrainedClient result;
  MUSTER_ASSIGN_OR_RETURN(result.if_taken, UnpackState(blobs[0]));
  MUSTER_ASSIGN_OR_RETURN(result.if_refused, UnpackState(blobs[1]));
  if (!has_update) {
    const v1::ClientFailed& failed = answer.failed();
    result.outcome = ClientFailure{client, failed.stage(), failed.code(), failed.message()};
    return result;
  }
  const v1::ClientUpdate& message = answer.update();
  Update update{.client = client,
                .num_samples = message.num_samples(),
                .payload = {.bytes = std::string(blobs[2])},
                .metrics = {message.train_loss(), message.steps(), message.seconds()}};
  for (int i = 0; i < message.extras_size(); ++i) {
    update.extras[message.extras(i)] = {.bytes = std::string(blobs[3 + static_cast<size_t>(i)])};
  }
  if (message.has_folded()) {
    const v1::FoldedUpdate& folded = message.folded();
    update.folded = {folded.payload_bytes(), folded.norm(), folded.seconds()};
  }
  for (const auto& [name, list] : message.numbers()) {
    update.numbers[name].assign(list.values().begin(), list.values().end());
  }
  result.outcome = std::move(update);
  return result;
}

absl::StatusOr<absl::StatusOr<std::vector<float>>> UnpackHonest(const v1::ClientAnswer& answer,
                                                                std::span<const std::string_view> blobs) {
  using Honest = absl::StatusOr<std::vector<float>>;
  if (answer.has_failed()) return Honest(absl::UnknownError(answer.failed().message()));
  if (!answer.has_honest() || blobs.size() != 1 || blobs[0].size() % sizeof(float) != 0) {
    return Malformed("an answer of another kind");
  }
  std::vector<float> update(blobs[0].size() / sizeof(float));
  std::memcpy(update.data(), blobs[0].data(), blobs[0].size());
  return Honest(std::move(update));
}

}  // namespace muster
