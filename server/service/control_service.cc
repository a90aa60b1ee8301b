#include "server/service/control_service.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/transport/credentials.h"

namespace muster {
namespace {

constexpr int kFailuresShown = 20;

v1::FailureStatus ToStatus(int64_t round, const ClientFailure& failure) {
  v1::FailureStatus status;
  status.set_round(round);
  status.set_client(failure.client);
  status.set_stage(failure.stage);
  status.set_code(failure.code);
  status.set_message(failure.message);
  return status;
}

}  // namespace

ControlService::ControlService(std::string federation, RemoteClientPool& pool, Steering steering, bool tls)
    : pool_(pool), steering_(std::move(steering)), tls_(tls) {
  status_.set_federation(std::move(federation));
  status_.set_test_accuracy(std::numeric_limits<double>::quiet_NaN());
  status_.set_test_loss(std::numeric_limits<double>::quiet_NaN());
}

void ControlService::On(const Event& event) {
  const MutexLock lock(&mutex_);
  if (const auto* started = std::get_if<RunStarted>(&event)) {
    status_.set_name(started->name);
    status_.set_round(started->first_round);
    status_.set_rounds(started->rounds);
    status_.set_upload_bytes(started->totals.upload_bytes);
    status_.set_download_bytes(started->totals.download_bytes);
  } else if (const auto* committed = std::get_if<RoundCommitted>(&event)) {
    const RoundRecord& record = committed->record;
    status_.set_round(record.round + 1);
    status_.set_upload_bytes(record.totals.upload_bytes);
    status_.set_download_bytes(record.totals.download_bytes);
    if (record.test) {
      status_.set_test_accuracy(record.test->accuracy);
      status_.set_test_loss(record.test->loss);
    }
    v1::Status newest;
    for (const ClientFailure& failure : record.failures) {
      if (newest.last_failures_size() < kFailuresShown)
        *newest.add_last_failures() = ToStatus(record.round, failure);
    }
    for (const v1::FailureStatus& failure : status_.last_failures()) {
      if (newest.last_failures_size() < kFailuresShown) *newest.add_last_failures() = failure;
    }
    status_.mutable_last_failures()->Swap(newest.mutable_last_failures());
  }
}

void ControlService::Describe(bool clients, v1::Status& status) {
  {
    const MutexLock lock(&mutex_);
    status = status_;
  }
  pool_.Describe(clients, status);
  const absl::Status there = steering_.engine([&status](RoundEngine& engine) {
    status.set_paused(engine.paused());
    const Phase phase = engine.phase();
    status.set_phase(engine.paused() && phase == Phase::kIdle ? "paused" : std::string(PhaseName(phase)));
    return absl::OkStatus();
  });
  if (!there.ok())
    status.set_phase(status.round() >= status.rounds() && status.rounds() > 0 ? "finished" : "waiting");
}

absl::Status ControlService::CheckOperator(const grpc::ServerContextBase& context) const {
  if (!tls_) return absl::OkStatus();
  MUSTER_ASSIGN_OR_RETURN(const Identity identity, PeerIdentity(context));
  if (identity.organizational_unit == kOperatorUnit) return absl::OkStatus();
  return absl::PermissionDeniedError("steering a coordinator takes an operator's certificate (operator.pem)");
}

grpc::ServerUnaryReactor* ControlService::Answer(grpc::CallbackServerContext* context, bool clients,
                                                 v1::Status* response,
                                                 const std::function<absl::Status()>& what) {
  absl::Status status = CheckOperator(*context);
  if (status.ok()) status = what();
  if (status.ok()) Describe(clients, *response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::GetStatus(grpc::CallbackServerContext* context,
                                                    const v1::GetStatusRequest* request,
                                                    v1::Status* response) {
  return Answer(context, request->clients(), response, [] { return absl::OkStatus(); });
}

grpc::ServerUnaryReactor* ControlService::Pause(grpc::CallbackServerContext* context,
                                                const v1::PauseRequest* /*request*/, v1::Status* response) {
  return Answer(context, false, response, [this] {
    return steering_.engine([](RoundEngine& engine) {
      engine.Pause();
      return absl::OkStatus();
    });
  });
}

grpc::ServerUnaryReactor* ControlService::ResumeRounds(grpc::CallbackServerContext* context,
                                                       const v1::ResumeRoundsRequest* /*request*/,
                                                       v1::Status* response) {
  return Answer(context, false, response, [this] {
    return steering_.engine([](RoundEngine& engine) {
      engine.Unpause();
      return absl::OkStatus();
    });
  });
}

grpc::ServerUnaryReactor* ControlService::Stop(grpc::CallbackServerContext* context,
                                               const v1::StopRequest* /*request*/, v1::Status* response) {
  return Answer(context, false, response, [this] {
    steering_.stop();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ControlService::Change(grpc::CallbackServerContext* context,
                                                 const v1::ChangeRequest* request, v1::Status* response) {
  return Answer(context, false, response, [&]() -> absl::Status {
    MUSTER_ASSIGN_OR_RETURN(const LiveChange change,
                            steering_.parse_change({request->set().begin(), request->set().end()}));
    return steering_.engine([&change](RoundEngine& engine) { return engine.RequestChange(change); });
  });
}

}  // namespace muster
