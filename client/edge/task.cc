#include "client/edge/task.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "compression/compressor.h"
#include "core/file.h"
#include "core/hash.h"

namespace muster::edge {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFailureBytes = 1000;
constexpr int kMaxVectors = 64;
constexpr int kMaxStatistics = 64;
constexpr int kMaxDeltas = 10'000;
constexpr char kHeldModel[] = "/model";  // a State: the model by its federation's id, and its version
constexpr char kVersion[] = "version";

absl::Status CheckBlob(const v1::Blob& blob, const char* what, int64_t most) {
  if (blob.sha256().size() != 32) return InvalidInput(absl::StrCat("the offer's ", what, " has no SHA-256"));
  if (blob.size() < 0 || blob.size() > most) {
    return InvalidInput(absl::StrCat("the offer's ", what, " would have ", blob.size(), " bytes, at most ",
                                     most, " make sense for this model"));
  }
  if (blob.data().empty()) return absl::OkStatus();
  if (static_cast<int64_t>(blob.data().size()) != blob.size() || Sha256(blob.data()) != blob.sha256()) {
    return InvalidInput(absl::StrCat("the bytes of the offer's ", what, " are not those that it names"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const std::vector<float>>> ReadVector(std::string_view bytes) {
  if (bytes.size() % sizeof(float) != 0) return InvalidInput("a vector is no whole number of float32 values");
  auto values = std::make_shared<std::vector<float>>(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(values->data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

absl::Status CheckOffer(const v1::Offer& offer, const Layout& layout) {
  if (offer.layout_fingerprint() != layout.fingerprint || offer.parameters() != layout.size) {
    return InvalidInput(absl::StrCat("the offer is for another model (", offer.parameters(),
                                     " parameters) than this "
                                     "client's (",
                                     layout.size, "); give both the same model configuration"));
  }
  if (offer.round() < 0 || offer.steps() < 0 || (offer.steps() == 0 && offer.epochs() <= 0)) {
    return InvalidInput("the offer has neither epochs nor steps");
  }
  if (!std::isfinite(offer.learning_rate_factor()) || offer.learning_rate_factor() < 0) {
    return InvalidInput(absl::StrCat("the offer's learning rate factor is ", offer.learning_rate_factor()));
  }
  // No encoding is larger than the plain one by more than its tables; a peer must not fill the disk.
  const int64_t most = 2 * layout.size * static_cast<int64_t>(sizeof(float)) + 4096;
  MUSTER_RETURN_IF_ERROR(CheckBlob(offer.model(), "model", most));
  if (offer.deltas_size() > kMaxDeltas) return InvalidInput("the offer has too many deltas");
  for (const v1::Delta& delta : offer.deltas())
    MUSTER_RETURN_IF_ERROR(CheckBlob(delta.payload(), "delta", most));
  if (offer.vectors_size() > kMaxVectors) return InvalidInput("the offer has too many vectors");
  for (const auto& [name, blob] : offer.vectors()) MUSTER_RETURN_IF_ERROR(CheckBlob(blob, "vector", most));
  if (offer.statistics_size() > kMaxStatistics) return InvalidInput("the offer asks for too many statistics");
  return absl::OkStatus();
}

v1::Failed Failure(int64_t round, std::string_view stage, std::string_view code, std::string_view message) {
  v1::Failed failed;
  failed.set_round(round);
  failed.set_stage(stage.data(), stage.size());
  failed.set_code(code.data(), code.size());
  for (const char c : message.substr(0, kMaxFailureBytes)) {  // protobuf wants UTF-8
    *failed.mutable_message() += c >= ' ' && c <= '~' ? c : '?';
  }
  return failed;
}

TaskFolder::TaskFolder(std::string folder, std::string federation, int64_t client,
                       std::unique_ptr<StateStore> memories)
    : folder_(std::move(folder)),
      federation_(std::move(federation)),
      client_(client),
      memories_(std::move(memories)),
      spool_(folder_) {
  if (spool_.update() &&
      (spool_.update()->header.federation() != federation_ || spool_.update()->header.client() != client_)) {
    spool_.Remove();
  }
}

absl::StatusOr<std::unique_ptr<TaskFolder>> TaskFolder::Open(const std::string& folder,
                                                             const std::string& federation, int64_t client) {
  std::error_code error;
  fs::create_directories(folder + "/blobs", error);
  if (error)
    return InvalidInput(absl::StrCat("state folder ", folder, ": cannot be made: ", error.message()));
  MUSTER_ASSIGN_OR_RETURN(auto memories, StateStore::Open(folder + "/memory"));
  return std::unique_ptr<TaskFolder>(new TaskFolder(folder, federation, client, std::move(memories)));
}

std::string TaskFolder::BlobPath(const v1::Blob& blob) const {
  return absl::StrCat(folder_, "/blobs/", absl::BytesToHexString(blob.sha256()));
}

absl::StatusOr<Payload> TaskFolder::Bytes(const v1::Blob& blob) const {
  Payload payload{.bytes = blob.data()};
  if (!payload.bytes.empty()) return payload;
  MUSTER_ASSIGN_OR_RETURN(payload.mapped, MappedFile::Open(BlobPath(blob)));
  payload.length = payload.mapped->bytes().size();
  return payload;
}

grpc::Status TaskFolder::Download(Transfer& transfer, const v1::Offer& offer) {
  v1::DownloadRequest request;
  request.set_federation(federation_);
  request.set_client(client_);
  const auto fetch = [&](const v1::Blob& blob) {
    if (!blob.data().empty()) return grpc::Status(grpc::Status::OK);
    request.set_sha256(blob.sha256());
    return transfer.Download(request, blob.size(), BlobPath(blob));
  };
  if (const std::optional<Held> held = HeldModel(offer)) {
    for (const v1::Delta& delta : held->missed) {
      if (grpc::Status status = fetch(delta.payload()); !status.ok()) return status;
    }
  } else if (grpc::Status status = fetch(offer.model()); !status.ok()) {
    return status;
  }
  for (const auto& [name, blob] : offer.vectors()) {
    if (grpc::Status status = fetch(blob); !status.ok()) return status;
  }
  return grpc::Status::OK;
}

std::optional<v1::Failed> TaskFolder::Train(Trainer& trainer, const ErrorFeedback& feedback,
                                            const v1::Offer& offer, const Watch& watch) {
  const auto failed = [&](const std::string& stage, const absl::Status& status) {
    return Failure(offer.round(), stage, absl::StatusCodeToString(status.code()), Message(status));
  };
  try {
    const absl::StatusOr<std::vector<float>> global = Model(offer, trainer.layout());
    if (!global.ok()) return failed("download", Annotate(global.status(), "model"));

    TrainingJob job;
    job.seed = offer.seed();
    job.round = offer.round();
    job.client = client_;
    job.epochs = offer.epochs();
    job.steps = offer.steps();
    job.learning_rate_factor = offer.learning_rate_factor();
    job.statistics.assign(offer.statistics().begin(), offer.statistics().end());
    job.cancelled = watch.cancelled;
    job.progress = watch.progress;
    for (const auto& [name, blob] : offer.vectors()) {
      const absl::StatusOr<Payload> bytes = Bytes(blob);
      if (!bytes.ok()) return failed("download", Annotate(bytes.status(), name));
      auto values = ReadVector(bytes->view());
      if (!values.ok()) return failed("download", Annotate(values.status(), name));
      job.vectors[name] = *std::move(values);
    }
    absl::StatusOr<State> memory = memories_->Load(client_, offer.round());
    if (!memory.ok()) return failed("train", memory.status());

    LocalUpdate update;
    TaskFailure failure;
    if (!runner_.Run(trainer, feedback, job, *global, *memory, update, failure)) {
      return failed(failure.stage, failure.status);
    }
    if (const absl::Status status = spool_.Put(federation_, offer.round(), client_, update); !status.ok()) {
      return failed("spool", status);
    }
  } catch (const std::bad_alloc&) {
    return failed("train", absl::ResourceExhaustedError("not enough memory for the model"));
  } catch (const std::exception& error) {  // of an application's trainer
    return failed("train", InternalError(error.what()));
  }
  RemoveBlobs();
  return std::nullopt;
}

std::optional<TaskFolder::Held> TaskFolder::HeldModel(const v1::Offer& offer) const {
  if (offer.model_version() < 0) return std::nullopt;
  const absl::StatusOr<std::string> bytes = ReadFile(folder_ + kHeldModel);
  if (!bytes.ok()) return std::nullopt;
  absl::StatusOr<State> state = ParseState(*bytes);
  if (!state.ok()) return std::nullopt;
  const auto model = state->vectors.find(federation_);
  const auto version = state->numbers.find(kVersion);
  if (model == state->vectors.end() || version == state->numbers.end() ||
      static_cast<int64_t>(model->second.size()) != offer.parameters()) {
    return std::nullopt;
  }
  Held held{.model = std::move(model->second), .missed = {}};
  auto next = static_cast<int64_t>(version->second) + 1;
  int64_t size = 0;
  for (const v1::Delta& delta : offer.deltas()) {
    if (delta.version() < next) continue;
    if (delta.version() != next) return std::nullopt;
    held.missed.push_back(delta);
    size += delta.payload().size();
    ++next;
  }
  if (next != offer.model_version() + 1 || size >= offer.model().size()) return std::nullopt;
  return held;
}

// Failure only costs bytes: the next model comes whole.
void TaskFolder::HoldModel(const v1::Offer& offer, const std::vector<float>& model) const {
  if (offer.model_version() < 0) return;
  const State state{.vectors = {{federation_, model}},
                    .numbers = {{kVersion, static_cast<double>(offer.model_version())}}};
  WriteFileAtomic(folder_ + kHeldModel, SerializeState(state)).IgnoreError();
}

absl::StatusOr<std::vector<float>> TaskFolder::Model(const v1::Offer& offer, const Layout& layout) const {
  const auto decode = [&](const v1::Blob& blob) -> absl::StatusOr<std::vector<float>> {
    MUSTER_ASSIGN_OR_RETURN(const Payload payload, Bytes(blob));
    return DecodePayload(payload, layout);
  };
  std::optional<Held> held = HeldModel(offer);
  if (!held) {
    MUSTER_ASSIGN_OR_RETURN(std::vector<float> model, decode(offer.model()));
    HoldModel(offer, model);
    return model;
  }
  for (const v1::Delta& delta : held->missed) {
    MUSTER_ASSIGN_OR_RETURN(const std::vector<float> change, decode(delta.payload()));
    for (size_t i = 0; i < change.size(); ++i) held->model[i] += change[i];
  }
  const std::string header = PayloadHeader(kIdentityCodec, layout);
  const std::string_view pieces[] = {
      header, {reinterpret_cast<const char*>(held->model.data()), held->model.size() * sizeof(float)}};
  if (Sha256(pieces) != offer.model().sha256()) {
    std::error_code error;
    fs::remove(folder_ + kHeldModel, error);
    return absl::DataLossError(
        "the differences lead to another model than the coordinator's; the next one is fetched whole");
  }
  HoldModel(offer, held->model);
  return std::move(held->model);
}

absl::Status TaskFolder::Remember(bool taken) {
  const FinishedUpdate& update = *spool_.update();
  const State& memory = taken ? update.if_taken : update.if_refused;
  return memory.empty() ? absl::OkStatus() : memories_->Save(client_, update.header.round(), memory);
}

void TaskFolder::Clear() {
  spool_.Remove();
  RemoveBlobs();
}

void TaskFolder::RemoveBlobs() const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_ + "/blobs", error)) fs::remove(entry.path(), error);
}

}  // namespace muster::edge
