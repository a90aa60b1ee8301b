// Messages between rank 0 and its workers (proto/muster/v1/worker.proto) and what they stand for.
#ifndef MUSTER_SIMULATION_WORKER_MESSAGES_H_
#define MUSTER_SIMULATION_WORKER_MESSAGES_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/state.h"
#include "core/status.h"
#include "muster/v1/worker.pb.h"
#include "simulation/collective.h"
#include "simulation/virtual_clients.h"

namespace muster {

// `message` (ToWorker or FromWorker) with its blobs behind it.
template <typename Message>
std::string Pack(Message message, std::span<const std::string_view> blobs = {});

template <typename Message>
struct Unpacked {
  Message message;
  std::vector<std::string_view> blobs;  // inside the bytes
};
// INVALID_ARGUMENT for bytes that are no such message.
template <typename Message>
absl::StatusOr<Unpacked<Message>> Unpack(std::string_view bytes);

// A task as a message, without its vectors, and all of it back: the vectors have their sizes, what is in them
// comes by BroadcastVectors. Of a task's Folding all arrives but the aggregator, which everybody knows, the
// number of sums and where they go.
v1::WorkerTask ToMessage(const VirtualTask& task, int64_t number);
absl::StatusOr<VirtualTask> FromMessage(const v1::WorkerTask& message);
// The same vectors for everybody: process 0's.
absl::Status BroadcastVectors(Collective& collective, VirtualTask& task);

// What a client remembers; "" is nothing.
std::string PackState(const State& state);
absl::StatusOr<State> UnpackState(std::string_view bytes);

// What came of a client, in `answer` (whose place in the bout is the caller's), with its blobs.
std::string PackAnswer(v1::ClientAnswer answer, const TrainedClient& trained);
std::string PackAnswer(v1::ClientAnswer answer, const absl::StatusOr<std::vector<float>>& honest);
std::string PackSums(int64_t bout, std::span<const int64_t> sums);
absl::StatusOr<std::vector<int64_t>> UnpackSums(std::span<const std::string_view> blobs);
absl::StatusOr<TrainedClient> UnpackTrained(const v1::ClientAnswer& answer, ClientId client,
                                            std::span<const std::string_view> blobs);
// An error of the client's is inside; one of the message is outside.
absl::StatusOr<absl::StatusOr<std::vector<float>>> UnpackHonest(const v1::ClientAnswer& answer,
                                                                std::span<const std::string_view> blobs);

}  // namespace muster

#endif  // MUSTER_SIMULATION_WORKER_MESSAGES_H_
