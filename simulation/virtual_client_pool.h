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
    // They are trained in groups, slices of clients(): of a size that the task has, whoever trains them.
    size_t groups() const { return groups_; }
    // Where a group begins; it ends where the next one does.
    size_t First(size_t group) const { return group * clients_.size() / groups_; }
    size_t GroupOf(size_t i) const { return ((i + 1) * groups_ - 1) / clients_.size(); }
    // The i-th client's memory; its training starts from it. An error ends the round.
    absl::StatusOr<State> Recall(size_t i) const;
    // Whether they train honestly whatever they are, because colluders must know.
    virtual bool honest() const = 0;
    // What came of the i-th client: of VirtualClients::Train with its group, or TrainHonestly if honest().
    // Exactly once a client, `memory` is what Recall gave.
    virtual void Take(size_t i, const State& memory, TrainedClient trained) = 0;
    virtual void Take(size_t i, absl::StatusOr<std::vector<float>> update) = 0;
    // Sums that have the folded updates which are taken next (Folding::add).
    virtual absl::Status AddSums(std::span<const int64_t> sums) = 0;

   protected:
    // All outlive it. `group`: at most so many clients are trained at once.
    Bout(const VirtualTask& task, std::span<const ClientId> clients, int64_t group, const StateStore& states)
        : task_(task),
          clients_(clients),
          groups_((clients.size() + static_cast<size_t>(group) - 1) / static_cast<size_t>(group)),
          states_(states) {}

   private:
    const VirtualTask& task_;
    const std::span<const ClientId> clients_;
    const size_t groups_;
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
  // Trains the group that `items` are of, by the trainer's thread, and has the bout take these. If a memory
  // cannot be read, which ends the run, none is taken.
  absl::Status TrainHere(LocalTrainer& trainer, Bout& bout, std::span<const size_t> items) const;

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
