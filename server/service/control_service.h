// The Control service: looking at and steering a running coordinator.
#ifndef MUSTER_SERVER_SERVICE_CONTROL_SERVICE_H_
#define MUSTER_SERVER_SERVICE_CONTROL_SERVICE_H_

#include <deque>
#include <functional>
#include <map>
#include <string>

#include "core/mutex.h"
#include "core/status.h"
#include "muster/v1/control.grpc.pb.h"
#include "server/rounds/events.h"
#include "server/rounds/round_engine.h"
#include "server/service/federation_service.h"
#include "server/service/remote_client_pool.h"

namespace muster {

// What an operator can do to a run. All are called from any thread and do not wait for their effect.
struct Steering {
  // Gives `use` the engine; UNAVAILABLE if there is none at the moment.
  std::function<absl::Status(const std::function<absl::Status(RoundEngine&)>& use)> engine;
  std::function<void()> stop;
  // A change from paths and values, as in `--set`. INVALID_ARGUMENT says what is wrong with it.
  std::function<absl::StatusOr<LiveChange>(const std::map<std::string, std::string>& set)> parse_change;
};

// Over TLS it serves certificates of the organizational unit "operator" only. It is told of the run as a
// listener.
class ControlService final : public v1::Control::CallbackService, public RoundListener {
 public:
  // `pool` outlives the service. `tls`: callers must prove that they are operators.
  ControlService(std::string federation, RemoteClientPool& pool, Steering steering, bool tls);

  void On(const Event& event) override;

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest* request, v1::Status* response) override;
  grpc::ServerUnaryReactor* Pause(grpc::CallbackServerContext* context, const v1::PauseRequest* request,
                                  v1::Status* response) override;
  grpc::ServerUnaryReactor* ResumeRounds(grpc::CallbackServerContext* context,
                                         const v1::ResumeRoundsRequest* request,
                                         v1::Status* response) override;
  grpc::ServerUnaryReactor* Stop(grpc::CallbackServerContext* context, const v1::StopRequest* request,
                                 v1::Status* response) override;
  grpc::ServerUnaryReactor* Change(grpc::CallbackServerContext* context, const v1::ChangeRequest* request,
                                   v1::Status* response) override;

 private:
  // Checks the caller, does `what`, and answers with the status after it.
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, bool clients, v1::Status* response,
                                   const std::function<absl::Status()>& what);
  absl::Status CheckOperator(const grpc::ServerContextBase& context) const;
  void Describe(bool clients, v1::Status& status);

  RemoteClientPool& pool_;
  const Steering steering_;
  const bool tls_;
  Mutex mutex_;
  v1::Status status_ ABSL_GUARDED_BY(mutex_);  // what events tell
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_CONTROL_SERVICE_H_
