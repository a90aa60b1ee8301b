// What all pools of virtual clients have in common: when clients answer, what colluders find out, what
// clients remember. Who trains them is their only difference.
#ifndef MUSTER_SIMULATION_VIRTUAL_CLIENT_POOL_H_
#define MUSTER_SIMULATION_VIRTUAL_CLIENT_POOL_H_

#include <map>
#include <span>
#include <vector>

#include "client/state_store.h"
#include "core/mutex.h"
#include "server/rounds/client_pool.h"
#include "simulation/virtual_clients.h"

namespace muster {

class VirtualClientPool : public ClientPool {
 public:
  std::span<const ClientInfo> Available() const final { return infos_; }
  absl::Status Run(const Task& task, std::span<const ClientId> cohort, OutcomeSink sink,
                   const std::function<bool()>& cancelled) final;

 protected:
  // Clients that are trained for one task. Thread-safe.
  class Bout {
   public:
    virtual ~Bout() = default;

    const VirtualTask& task() const { return task_; }
    std::span<const ClientId> clients() const { return clients_; }
    // The i-th client's memory; its training starts from it. An error ends the round.
    absl::StatusOr<State> Recall(size_t i) const;
    // Whether they train honestly whatever they are, because colluders must know.
    virtual bool honest() const = 0;
    // What came of the i-th client: of VirtualClients::Train, or TrainHonestly if honest(). Exactly once a
    // client, `memory` is what Recall gave.
    virtual void Take(size_t i, const State& memory, TrainedClient trained) = 0;
    virtual void Take(size_t i, absl::StatusOr<std::vector<float>> update) = 0;
    // Sums that have the folded updates which are taken next (Folding::add).
    virtual absl::Status AddSums(std::span<const int64_t> sums) = 0;

   protected:
    // All outlive it.
    Bout(const VirtualTask& task, std::span<const ClientId> clients, const StateStore& states)
        : task_(task), clients_(clients), states_(states) {}

   private:
    const VirtualTask& task_;
    const std::span<const ClientId> clients_;
    const StateStore& states_;
  };

  // Both outlive the pool. `labels`: as for VirtualClients::Describe.
  VirtualClientPool(const VirtualClients& clients, StateStore& states, bool labels)
      : clients_(clients), states_(states), infos_(clients.Describe(labels)) {}

  // Trains every client of the bout; returns when all are taken. CANCELLED when `cancelled` (polled between
  // clients) turned true; any other error ends the run.
  virtual absl::Status Train(Bout& bout, const std::function<bool()>& cancelled) = 0;
  // How many clients are trained at the same time.
  virtual int width() const = 0;

  const VirtualClients& clients() const { return clients_; }

 private:
  class HonestBout;
  class RealBout;

  // What the colluders among `cohort` (ascending) find out by training honestly first, as many at a time as
  // there is width. A colluder whose training fails here fails again in the round.
  absl::Status Collude(VirtualTask& task, std::span<const ClientId> cohort,
                       const std::function<bool()>& cancelled);

  const VirtualClients& clients_;
  StateStore& states_;
  const std::vector<ClientInfo> infos_;
};

}  // namespace muster

#endif  // MUSTER_SIMULATION_VIRTUAL_CLIENT_POOL_H_
