#include "server/rounds/answers.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"
#include "compression/kernels.h"
#include "methods/method.h"

namespace muster {
namespace {

constexpr size_t kMaxNames = 64;
constexpr size_t kMaxNumbers = 1 << 16;
constexpr char kOptimizerState[] = "optimizer/";
constexpr int64_t kMaxKeptBytes = int64_t{256} << 20;

absl::Status MoveToFile(Payload& payload) {
  const char* folder = std::getenv("TMPDIR");
  std::string name = absl::StrCat(folder != nullptr ? folder : "/tmp", "/muster-kept-XXXXXX");
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return InternalError(absl::StrCat(name, ": cannot be made for a round's updates"));
  ::close(fd);
  absl::Status status = WriteFileAtomic(name, payload.bytes);
  if (status.ok()) {
    absl::StatusOr<std::shared_ptr<const MappedFile>> mapped = MappedFile::Open(name);
    status = mapped.status();
    if (status.ok()) payload.mapped = *std::move(mapped);
  }
  ::unlink(name.c_str());
  if (!status.ok()) return status;
  payload.begin = 0;
  payload.length = payload.bytes.size();
  std::string().swap(payload.bytes);
  return absl::OkStatus();
}

}  // namespace

// For listeners only, so not at any price: 0 also for a model so large that decoding an update once more
// would be felt.
double UpdateNorm(const Payload& update, const Layout& layout) {
  constexpr int64_t kMostElements = 1 << 24;
  if (layout.size > kMostElements) return 0;
  if (update.on_device != nullptr) {
    const absl::StatusOr<double> squares = update.on_device->SumOfSquares();
    return squares.ok() && std::isfinite(*squares) ? std::sqrt(*squares) : 0;
  }
  const absl::StatusOr<std::vector<float>> decoded = DecodePayload(update, layout);
  return decoded.ok() ? std::sqrt(SumOfSquares(*decoded)) : 0;
}

Answers::Answers(std::vector<ClientInfo> cohort, std::unique_ptr<Aggregator> aggregator, const Layout& layout,
                 ExtraRules rules, bool keep, RoundRecord& record)
    : cohort_(std::move(cohort)),
      aggregator_(std::move(aggregator)),
      layout_(layout),
      rules_(std::move(rules)),
      keep_(keep),
      record_(record),
      answers_(cohort_.size()) {}

absl::Status Answers::Take(Outcome outcome, ClientFinished& event) {
  auto* update = std::get_if<Update>(&outcome);
  const ClientId client = update != nullptr ? update->client : std::get<ClientFailure>(outcome).client;
  const ClientInfo* found = FindClient(cohort_, client);
  if (found == nullptr || answers_[static_cast<size_t>(found - cohort_.data())].given) {
    return InternalError(absl::StrCat("client pool: an answer of client ", client, " is not expected"));
  }
  Answer& answer = answers_[static_cast<size_t>(found - cohort_.data())];
  answer.given = true;
  event.client = client;
  if (update == nullptr) {
    auto& failure = std::get<ClientFailure>(outcome);
    record_.download_bytes += failure.download_bytes;
    event.download_bytes = failure.download_bytes;
    event.failure = failure;
    record_.failures.push_back(std::move(failure));
    return absl::OkStatus();
  }
  event.metrics = update->metrics;
  event.num_samples = update->num_samples;
  event.upload_bytes = update->upload_bytes();
  event.download_bytes = update->download_bytes;
  ++record_.totals.uploads;
  record_.upload_bytes += event.upload_bytes;
  record_.download_bytes += update->download_bytes;
  if (update->folded) event.fold_seconds = update->folded->seconds;
  if (const absl::Status folded = update->folded ? absl::OkStatus() : Fold(*update); !folded.ok()) {
    event.failure = {.client = client,
                     .stage = "verify",
                     .code = absl::StatusCodeToString(folded.code()),
                     .message = Message(folded),
                     .download_bytes = update->download_bytes};
    record_.failures.push_back(event.failure);
    return absl::OkStatus();
  }
  event.accepted = true;
  ++record_.accepted;
  record_.totals.samples_trained += update->num_samples;
  answer.accepted = true;
  answer.samples = update->num_samples;
  answer.weight = aggregator_->Weight(*update);
  answer.metrics = update->metrics;
  answer.numbers = update->numbers;  // copied: a kept update needs its own
  return keep_ ? Keep(std::move(*update)) : absl::OkStatus();
}

absl::Status Answers::Keep(Update update) {
  std::vector<Payload*> payloads = {&update.payload};
  for (auto& [name, extra] : update.extras) payloads.push_back(&extra);
  for (Payload* payload : payloads) {
    if (payload->mapped) continue;
    kept_bytes_ += payload->size();
    if (kept_bytes_ <= kMaxKeptBytes) continue;
    kept_bytes_ -= payload->size();
    MUSTER_RETURN_IF_ERROR(MoveToFile(*payload));
  }
  kept_.push_back(std::move(update));
  return absl::OkStatus();
}

// All that can be wrong is found before anything is added: a refused update leaves no trace.
absl::Status Answers::Fold(const Update& update) {
  MUSTER_RETURN_IF_ERROR(CheckNumbers(update.numbers));
  for (const std::string& name : rules_.required) {
    if (!update.extras.contains(name))
      return InvalidInput(absl::StrCat("the extra vector '", name, "' is missing"));
  }
  std::map<std::string, std::vector<float>> extras;
  for (const auto& [name, payload] : update.extras) {
    const bool state = rules_.optimizer_state && name.starts_with(kOptimizerState);
    if (!state && !rules_.required.contains(name)) {
      return InvalidInput(absl::StrCat("the extra vector '", name, "' was not asked for"));
    }
    if (update.extras.size() > kMaxNames) return InvalidInput("too many extra vectors");
    const int64_t size = state ? ClaimedElements(payload) : layout_.size;
    if (size < 0 || size > layout_.size) {
      return InvalidInput(absl::StrCat("extra vector '", name, "' is larger than the model"));
    }
    if (const auto sum = extras_.find(name); sum != extras_.end() && sum->second.size() != size) {
      return InvalidInput(absl::StrCat("extra vector '", name, "' has ", size, " elements, others' has ",
                                       sum->second.size()));
    }
    absl::StatusOr<std::vector<float>> values = DecodePayload(payload, ExtraLayout(name, size));
    if (!values.ok()) return Annotate(values.status(), absl::StrCat("extra vector '", name, "'"));
    for (const float value : *values) {
      if (std::abs(value) > 0x1p20F) {
        return InvalidInput(absl::StrCat("extra vector '", name, "': an element is beyond 2^20"));
      }
    }
    extras[name] = *std::move(values);
  }
  MUSTER_RETURN_IF_ERROR(aggregator_->Add(update));
  for (const auto& [name, values] : extras) {
    auto [sum, made] =
        extras_.try_emplace(name, static_cast<int64_t>(values.size()), static_cast<double>(cohort_.size()));
    MUSTER_RETURN_IF_ERROR(sum->second.Add(values, 1));
  }
  return absl::OkStatus();
}

int64_t Answers::sums() const {
  const bool only_sums =
      !keep_ && rules_.required.empty() && rules_.scalars.empty() && !rules_.optimizer_state;
  if (!only_sums || aggregator_->Sum() == nullptr) return 0;
  return static_cast<int64_t>(aggregator_->Sum()->words().size());
}

absl::Status Answers::AddSums(std::span<const int64_t> sums) { return aggregator_->Sum()->AddWords(sums); }

absl::Status Answers::CheckNumbers(const Numbers& numbers) const {
  size_t count = 0;
  for (const auto& [name, values] : numbers) {
    count += values.size();
    for (const double value : values) {
      if (!std::isfinite(value)) return InvalidInput(absl::StrCat("the number '", name, "' is ", value));
    }
  }
  if (numbers.size() > kMaxNames || count > kMaxNumbers) return InvalidInput("too many numbers");
  for (const std::string& name : rules_.scalars) {
    const auto found = numbers.find(name);
    if (found == numbers.end()) return InvalidInput(absl::StrCat("the number '", name, "' is missing"));
    if (found->second.size() != 1 || found->second[0] <= 0 || found->second[0] > 0x1p20) {
      return InvalidInput(absl::StrCat("the number '", name, "' must be one value above 0 and at most 2^20"));
    }
  }
  for (const auto& [name, values] : numbers) {
    if (name.starts_with(kMethodPrefix) && !rules_.scalars.contains(name)) {
      return InvalidInput(absl::StrCat("the number '", name, "' was not asked for"));
    }
  }
  return absl::OkStatus();
}

absl::Status Answers::Close() {
  std::sort(record_.failures.begin(), record_.failures.end(),
            [](const ClientFailure& a, const ClientFailure& b) { return a.client < b.client; });
  std::sort(kept_.begin(), kept_.end(), [](const Update& a, const Update& b) { return a.client < b.client; });
  double loss_sum = 0, samples = 0;
  for (size_t i = 0; i < answers_.size(); ++i) {
    const Answer& answer = answers_[i];
    if (!answer.given) {
      return InternalError(absl::StrCat("client pool: no answer of client ", cohort_[i].id));
    }
    // A loss is a client's claim: one that is no number must not hide those of the others.
    if (!answer.accepted || !std::isfinite(answer.metrics.train_loss)) continue;
    loss_sum += answer.metrics.train_loss * static_cast<double>(answer.samples);
    samples += static_cast<double>(answer.samples);
  }
  if (samples > 0) record_.train_loss = loss_sum / samples;
  return absl::OkStatus();
}

absl::StatusOr<Aggregate> Answers::Finish(int64_t clients) {
  MUSTER_ASSIGN_OR_RETURN(Aggregate aggregate, std::move(*aggregator_).Finish());
  aggregator_.reset();
  for (auto& [name, sum] : extras_) {
    std::vector<float>& mean = aggregate.extras[name];
    mean.resize(static_cast<size_t>(sum.size()));
    MUSTER_RETURN_IF_ERROR(sum.Mean(mean));
  }
  extras_.clear();
  for (size_t i = 0; i < answers_.size(); ++i) {
    Answer& answer = answers_[i];
    if (!answer.accepted) continue;
    aggregate.reports.push_back({.client = cohort_[i],
                                 .train_loss = answer.metrics.train_loss,
                                 .steps = answer.metrics.steps,
                                 .numbers = answer.numbers});
  }
  aggregate.scalars = MeanScalars();
  aggregate.share =
      static_cast<double>(aggregate.reports.size()) / static_cast<double>(std::max<int64_t>(clients, 1));
  return aggregate;
}

// In the order of clients, in double.
std::map<std::string, double> Answers::MeanScalars() const {
  std::map<std::string, double> means;
  for (const std::string& name : rules_.scalars) {
    double sum = 0, weight = 0;
    for (const Answer& answer : answers_) {
      if (!answer.accepted) continue;
      sum += answer.weight * answer.numbers.at(name).front();
      weight += answer.weight;
    }
    means[name] = sum / weight;
  }
  return means;
}

absl::Status Answers::MeasureDeviations(Aggregate& aggregate) const {
  for (size_t i = 0; i < kept_.size(); ++i) {
    MUSTER_ASSIGN_OR_RETURN(const std::vector<float> update, DecodePayload(kept_[i].payload, layout_));
    double sum = 0;
    for (size_t j = 0; j < update.size(); ++j) {
      const double difference = static_cast<double>(update[j]) - static_cast<double>(aggregate.delta[j]);
      sum += difference * difference;
    }
    aggregate.reports[i].deviation = std::sqrt(sum);
  }
  return absl::OkStatus();
}

std::vector<ClientInfo> Answers::accepted() const {
  std::vector<ClientInfo> clients;
  for (size_t i = 0; i < answers_.size(); ++i) {
    if (answers_[i].accepted) clients.push_back(cohort_[i]);
  }
  return clients;
}

}  // namespace muster
