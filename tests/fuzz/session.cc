// libFuzzer target for what clients send to a coordinator: messages of sessions (small updates in them too),
// upload headers and chunks, requests for downloads. Input: records of one byte (what it is, and which of
// three clients sends it), two bytes of length, and so many bytes. Whatever they are: the round ends with one
// answer a client of its cohort, and the next one begins.
// MUSTER_FUZZ_SEEDS=FOLDER writes the seeds and exits.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"
#include "core/exact_sum.h"
#include "core/hash.h"
#include "core/transport/chunk.h"
#include "server/service/remote_client_pool.h"

namespace muster {
namespace {

constexpr int kClients = 3;
enum Kind { kSession, kUpload, kUploadMessage, kDownload, kClose, kTick, kKinds };

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

class Link final : public ClientLink {
 public:
  explicit Link(int client) : ClientLink({.identity = {}, .address = absl::StrCat("fuzz:", client)}) {}
  void Send(v1::ServerMessage /*message*/) override {}
  void Close(const absl::Status& /*status*/, bool /*at_once*/) override {}
};

// One coordinator for all inputs; its clock stands still but for the end of a round.
class Coordinator {
 public:
  Coordinator() {
    folder_ =
        absl::StrCat(std::filesystem::temp_directory_path().string(), "/muster_session_fuzz_", getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    layout_.Add("weight", {8, 4}, true);
    auto journal = Journal::Create(folder_, Durability::kProcess);
    auto spool = UpdateSpool::Open(folder_ + "/spool", Durability::kProcess);
    Require(journal.ok() && spool.ok(), "no journal");
    journal_ = *std::move(journal);
    PoolOptions options{.federation = "fuzz", .name = "fuzz", .clients = kClients, .min_clients = 1};
    options.heartbeat_seconds = 1e6;
    options.now = [this] { return now_.load(); };
    auto pool = RemoteClientPool::Start(options, layout_, *journal_, *std::move(spool));
    Require(pool.ok(), "no pool");
    pool_ = *std::move(pool);
    // Whoever is known is let in again at once, without the journal's thread.
    for (int client = 0; client < kClients; ++client) {
      v1::ClientMessage message;
      message.mutable_join()->set_protocol(1);
      message.mutable_join()->set_num_samples(5);
      message.mutable_join()->set_client(client);
      const auto link = std::make_shared<Link>(client);
      pool_->Opened(link);
      pool_->Received(link, message);
      Await([&] { return Describe().connected() > 0; });
      pool_->Closed(link, /*heard_all=*/true);
    }
  }

  void Run(std::string_view input) {
    Task task{.round = 0, .seed = 1};
    task.round = round_;
    task.model = model_;
    task.deadline_seconds = 10;
    std::set<ClientId> answered;
    ExactSum sum(layout_.size, kClients);
    auto running = std::async(std::launch::async, [&] {
      return pool_->Run(
          task, std::vector<ClientId>{0, 1, 2},
          [&](Outcome outcome) -> absl::Status {
            const auto* update = std::get_if<Update>(&outcome);
            const ClientId client =
                update != nullptr ? update->client : std::get<ClientFailure>(outcome).client;
            Require(client >= 0 && client < kClients, "an answer of nobody");
            Require(answered.insert(client).second, "two answers of one client");
            if (update == nullptr) return absl::CancelledError("no update");
            return FoldPayload(update->payload, 1, layout_, sum);
          },
          [] { return false; });
    });
    Await([&] { return Describe().cohort() > 0; });
    std::map<int, std::shared_ptr<ClientLink>> links;
    while (input.size() >= 3) {
      const auto head = static_cast<uint8_t>(input[0]);
      const size_t size = static_cast<uint8_t>(input[1]) + 256U * static_cast<uint8_t>(input[2]);
      input.remove_prefix(3);
      const std::string_view bytes = input.substr(0, size);
      input.remove_prefix(bytes.size());
      const int client = head % kClients;
      std::shared_ptr<ClientLink>& link = links[client];
      if (link == nullptr) pool_->Opened(link = std::make_shared<Link>(client));
      Handle(static_cast<Kind>(head / kClients % kKinds), client, link, bytes);
    }
    for (auto& [client, link] : links) {
      if (link != nullptr) pool_->Closed(link, /*heard_all=*/false);
    }
    incoming_.clear();
    now_ = now_ + 11;
    Await([&] { return running.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    Require(running.get().ok(), "the round was broken off");
    Require(answered.size() == kClients, "a client without an answer");
    pool_->Committed(round_++);
  }

 private:
  v1::Status Describe() const {
    v1::Status status;
    pool_->Describe(/*clients=*/false, status);
    return status;
  }
  // Until the pool's threads have done what they have to.
  void Await(const std::function<bool()>& done) {
    while (!done()) {
      pool_->Tick();
      std::this_thread::yield();
    }
  }
  void Handle(Kind kind, int client, std::shared_ptr<ClientLink>& link, std::string_view bytes) {
    const auto parse = [&](auto message) {
      return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ? std::optional(message)
                                                                                  : std::nullopt;
    };
    switch (kind) {
      case kSession:
        if (auto message = parse(v1::ClientMessage())) {
          ToThisRound(*message);
          pool_->Received(link, *message);
        }
        return;
      case kUpload:
        if (auto header = parse(v1::UploadHeader())) {
          if (header->round() == 0) header->set_round(round_);
          (void)pool_->UploadOffset(link->peer(), *header);
          const auto update = pool_->Upload(link->peer(), *header);
          if (!update.ok() || *update == nullptr) return;
          incoming_[client] = {*header, *update, (*update)->Claim(*header, [] {})};
        }
        return;
      case kUploadMessage: {
        const grpc::Slice slice(bytes.data(), bytes.size());
        const auto message = DecodeUploadMessage(grpc::ByteBuffer(&slice, 1));
        const auto found = incoming_.find(client);
        if (!message.ok() || found == incoming_.end()) return;
        const auto* chunk = std::get_if<ReceivedChunk>(&*message);
        if (chunk == nullptr) return;
        auto& [header, update, writer] = found->second;
        if (!update->Append(writer, chunk->pieces).ok() || update->received() != update->size()) return;
        (void)pool_->Uploaded(header, update);
        incoming_.erase(found);
        return;
      }
      case kDownload:
        if (auto request = parse(v1::DownloadRequest())) {
          const auto blob = pool_->Download(link->peer(), *request);
          if (blob.ok()) (void)pool_->Downloaded(request->client(), **blob, request->offset());
        }
        return;
      case kClose:
        pool_->Closed(link, /*heard_all=*/!bytes.empty());
        link = nullptr;
        return;
      default:
        pool_->Tick();
    }
  }
  // Inputs do not know how many rounds there were: 0 stands for the one in flight.
  void ToThisRound(v1::ClientMessage& message) const {
    if (message.has_accept() && message.accept().round() == 0) message.mutable_accept()->set_round(round_);
    if (message.has_ready() && message.ready().round() == 0) message.mutable_ready()->set_round(round_);
    if (message.has_failed() && message.failed().round() == 0) message.mutable_failed()->set_round(round_);
    if (message.has_submit() && message.submit().header().round() == 0)
      message.mutable_submit()->mutable_header()->set_round(round_);
    if (message.has_decline() && message.decline().round() == 0) message.mutable_decline()->set_round(round_);
  }

  struct Incoming {
    v1::UploadHeader header;
    std::shared_ptr<IncomingUpdate> update;
    int64_t writer = 0;
  };

  std::string folder_;
  Layout layout_;
  std::unique_ptr<Journal> journal_;
  std::atomic<double> now_{0};
  std::unique_ptr<RemoteClientPool> pool_;
  const std::shared_ptr<const std::vector<float>> model_ = std::make_shared<std::vector<float>>(32, 0.5F);
  int64_t round_ = 0;
  std::map<int, Incoming> incoming_;
};

void AppendRecord(Kind kind, int client, const std::string& bytes, std::string& input) {
  input.push_back(static_cast<char>(kind * kClients + client));
  input.push_back(static_cast<char>(bytes.size() % 256));
  input.push_back(static_cast<char>(bytes.size() / 256));
  input += bytes;
}

// A client's whole part in a round, and pieces of it.
void WriteSeeds(const std::string& folder) {
  Layout layout;
  layout.Add("weight", {8, 4}, true);
  const std::vector<float> update(32, 0.25F);
  auto identity = Registry<Compressor>::Get().Create({"identity", {}}, {});
  const std::string payload = (*identity)->Compress(update, layout, {.seed = 1})->bytes;
  v1::ClientMessage join, accept, ready, failed, leave;
  join.mutable_join()->set_protocol(1);
  join.mutable_join()->set_num_samples(5);
  join.mutable_join()->set_client(0);
  join.mutable_join()->set_max_inline_bytes(1 << 16);
  accept.mutable_accept();
  ready.mutable_ready()->set_size(static_cast<int64_t>(payload.size()));
  ready.mutable_ready()->set_content_sha256(Sha256(payload));
  failed.mutable_failed()->set_stage("train");
  failed.mutable_failed()->set_code("INVALID_ARGUMENT");
  leave.mutable_leave()->set_reason("enough");
  v1::UploadHeader header;
  header.set_federation("fuzz");
  header.set_num_samples(5);
  header.set_payload_size(static_cast<int64_t>(payload.size()));
  header.set_content_sha256(Sha256(payload));
  v1::UploadMessage chunk;
  chunk.mutable_chunk()->set_data(payload);
  chunk.mutable_chunk()->set_crc32c(Crc32c(payload));
  v1::DownloadRequest request;
  request.set_federation("fuzz");
  const auto write = [&](const std::string& name, const std::string& bytes) {
    std::ofstream(absl::StrCat(folder, "/", name), std::ios::binary) << bytes;
  };
  v1::ClientMessage submit;
  *submit.mutable_submit()->mutable_header() = header;
  submit.mutable_submit()->set_data(payload);
  std::string begun, whole, failing, submitted;
  AppendRecord(kSession, 0, join.SerializeAsString(), begun);
  AppendRecord(kTick, 0, "", begun);
  AppendRecord(kSession, 0, accept.SerializeAsString(), begun);
  AppendRecord(kDownload, 0, request.SerializeAsString(), begun);
  whole = failing = submitted = begun;
  AppendRecord(kSession, 0, ready.SerializeAsString(), whole);
  AppendRecord(kUpload, 0, header.SerializeAsString(), whole);
  AppendRecord(kUploadMessage, 0, chunk.SerializeAsString(), whole);
  write("whole", whole);
  AppendRecord(kSession, 0, submit.SerializeAsString(), submitted);
  write("submitted", submitted);
  AppendRecord(kSession, 0, failed.SerializeAsString(), failing);
  write("failing", failing);
  AppendRecord(kSession, 0, leave.SerializeAsString(), begun);
  AppendRecord(kClose, 0, "", begun);
  write("leaving", begun);
}

}  // namespace
}  // namespace muster

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  google::protobuf::SetLogHandler(nullptr);  // of every text that is no UTF-8
  if (const char* const folder = std::getenv("MUSTER_FUZZ_SEEDS")) {
    muster::WriteSeeds(folder);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const coordinator = new muster::Coordinator;  // its thread lives as long as the process
  coordinator->Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
