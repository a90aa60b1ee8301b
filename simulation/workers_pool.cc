#include "simulation/workers_pool.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {

WorkersPool::WorkersPool(const VirtualClients& clients, StateStore& states, bool labels, WorkerGroup& group,
                         WorkerThreads* own, Told told)
    : VirtualClientPool(clients, states, labels), group_(group), own_(own), told_(std::move(told)) {
  Meet();
}

WorkersPool::~WorkersPool() {
  {
    const MutexLock lock(&mutex_);
    leaving_ = true;
  }
  v1::ToWorker message;
  message.mutable_end();
  const std::string bytes = Pack(message);
  for (const auto& peer : peers_) {
    bool gone = false;
    {
      const MutexLock lock(&mutex_);
      gone = peer->gone;
    }
    if (!gone) group_.collective()->Send(peer->place, bytes).IgnoreError();
  }
  // They leave first: a socket that closes on unread bytes would take the last message back.
  for (const auto& peer : peers_) peer->receiving.join();
}

int WorkersPool::width() const {
  const MutexLock lock(&mutex_);
  return std::max(1, Threads());
}

int WorkersPool::Threads() const {
  int threads = own_ == nullptr ? 0 : own_->count();
  for (const auto& peer : peers_) threads += peer->gone ? 0 : peer->member.threads;
  return threads;
}

void WorkersPool::Meet() {
  {
    const MutexLock lock(&mutex_);
    leaving_ = form_anew_ = begin_again_ = false;
  }
  told_model_.reset();
  const std::vector<WorkerGroup::Member>& members = group_.members();
  for (size_t place = 1; place < members.size(); ++place) {
    auto peer = std::make_unique<Peer>();
    peer->place = static_cast<int>(place);
    peer->member = members[place];
    peers_.push_back(std::move(peer));
  }
  for (const auto& peer : peers_) {
    peer->receiving =
        std::thread([this, &peer = *peer, collective = group_.collective()] { Listen(peer, collective); });
  }
}

void WorkersPool::Leave() {
  {
    const MutexLock lock(&mutex_);
    leaving_ = true;
  }
  if (group_.collective() != nullptr) group_.collective()->Close();
  for (const auto& peer : peers_) peer->receiving.join();
  const MutexLock lock(&mutex_);
  for (const auto& peer : peers_) PutBack(*peer);
  peers_.clear();
  ++bout_number_;  // sums of before are void
}

void WorkersPool::PutBack(Peer& peer) {
  for (const auto& [item, memory] : peer.given) waiting_.push_front(item);
  for (const Folded& folded : peer.folded) waiting_.push_front(folded.item);
  peer.given.clear();
  peer.folded.clear();
  peer.asked = 0;
}

absl::Status WorkersPool::FormAnew() {
  Leave();
  const std::vector<WorkerGroup::Member> before = group_.members();
  MUSTER_RETURN_IF_ERROR(group_.Form(gone_));
  std::set<int> here;
  for (const WorkerGroup::Member& member : group_.members()) here.insert(member.rank);
  for (const WorkerGroup::Member& member : before) {
    if (!here.contains(member.rank) && gone_.insert(member.rank).second) {
      TellLoss(member, "it did not come when the others formed a new group");
    }
  }
  Meet();
  return absl::OkStatus();
}

absl::Status WorkersPool::Reach(const Bout& bout) {
  while (true) {
    bool form_anew = false;
    {
      const MutexLock lock(&mutex_);
      form_anew = form_anew_;
    }
    if (form_anew) MUSTER_RETURN_IF_ERROR(FormAnew());
    if (peers_.empty()) {
      return own_ != nullptr ? absl::OkStatus() : absl::UnavailableError("all workers are gone");
    }
    if (Tell(bout).ok()) return absl::OkStatus();
    const MutexLock lock(&mutex_);
    form_anew_ = true;
  }
}

absl::Status WorkersPool::Tell(const Bout& bout) {
  const VirtualTask& task = bout.task();
  if (told_model_.lock() == task.task.model && told_collusions_ == task.collusions.size()) {
    return absl::OkStatus();
  }
  v1::ToWorker message;
  {
    const MutexLock lock(&mutex_);
    *message.mutable_task() = ToMessage(task, ++told_number_);
  }
  const std::string bytes = Pack(message);
  for (const auto& peer : peers_) {
    MUSTER_RETURN_IF_ERROR(group_.collective()->Send(peer->place, bytes));
  }
  VirtualTask vectors = task;  // shares them
  MUSTER_RETURN_IF_ERROR(BroadcastVectors(*group_.collective(), vectors));
  told_model_ = task.task.model;
  told_collusions_ = task.collusions.size();
  return absl::OkStatus();
}

std::vector<size_t> WorkersPool::LongestFirst(const Bout& bout) const {
  std::vector<size_t> items(bout.clients().size());
  std::iota(items.begin(), items.end(), size_t{0});
  const std::span<const ClientInfo> infos = Available();
  std::stable_sort(items.begin(), items.end(), [&](size_t a, size_t b) {
    return infos[static_cast<size_t>(bout.clients()[a])].num_samples >
           infos[static_cast<size_t>(bout.clients()[b])].num_samples;
  });
  return items;
}

absl::Status WorkersPool::Train(Bout& bout, const std::function<bool()>& cancelled) {
  const std::vector<size_t> items = LongestFirst(bout);
  {
    const MutexLock lock(&mutex_);
    ++bout_number_;
    waiting_.assign(items.begin(), items.end());
    left_ = items.size();
    failed_ = absl::OkStatus();
    bout_ = &bout;
  }
  absl::Status status;
  while (true) {
    status = Reach(bout);
    if (!status.ok()) break;
    {
      const MutexLock lock(&mutex_);
      dealing_ = true;
    }
    for (const auto& peer : peers_) Deal(*peer);
    do {
      Help(bout, cancelled);
    } while (ReduceSums(bout));
    const MutexLock lock(&mutex_);
    dealing_ = false;
    if (left_ == 0 || !failed_.ok()) break;
    form_anew_ = true;  // some worker is lost, and others may not have the task
  }
  const MutexLock lock(&mutex_);
  while (users_ > 0) changed_.Wait(&mutex_);
  bout_ = nullptr;
  status.Update(failed_);
  return status;
}

void WorkersPool::Deal(Peer& peer) {
  std::vector<std::vector<size_t>> groups;
  v1::ToWorker message;
  v1::TrainClients& train = *message.mutable_train();
  Bout* bout = nullptr;
  {
    const MutexLock lock(&mutex_);
    if (!dealing_ || peer.gone || leaving_) return;
    groups = Choose(peer);
    if (!groups.empty()) {
      bout = bout_;
      ++users_;
      train.set_task(told_number_);
      train.set_bout(bout_number_);
      train.set_honest(bout->honest());
      train.set_fold_from(FoldFrom(*bout));
    }
  }
  if (groups.empty()) return AskForSums(peer);
  std::vector<std::string> memories;
  absl::Status lost;
  for (const std::vector<size_t>& items : groups) {
    const size_t group = bout->GroupOf(items.front());
    v1::ClientGroup& entry = *train.add_groups();
    entry.set_first(static_cast<int64_t>(bout->First(group)));
    for (size_t i = bout->First(group); i < bout->First(group + 1); ++i)
      entry.add_clients(bout->clients()[i]);
    for (const size_t item : items) {
      absl::StatusOr<State> memory = bout->Recall(item);
      lost.Update(memory.status());
      if (!memory.ok()) break;
      memories.push_back(PackState(*memory));
      entry.add_items(static_cast<int64_t>(item));
      const MutexLock lock(&mutex_);
      if (const auto given = peer.given.find(item); given != peer.given.end())
        given->second = *std::move(memory);
    }
  }
  Release(lost, /*taken=*/0);
  if (!lost.ok()) return;
  const std::vector<std::string_view> blobs(memories.begin(), memories.end());
  const absl::Status sent = group_.collective()->Send(peer.place, Pack(std::move(message), blobs));
  if (!sent.ok()) Lose(peer, sent);
}

std::vector<size_t> WorkersPool::NextGroup() {
  std::vector<size_t> items = {waiting_.front()};
  waiting_.pop_front();
  if (bout_->groups() == bout_->clients().size()) return items;
  const size_t group = bout_->GroupOf(items.front());
  const auto others = std::stable_partition(waiting_.begin(), waiting_.end(),
                                            [&](size_t item) { return bout_->GroupOf(item) != group; });
  items.insert(items.end(), others, waiting_.end());
  waiting_.erase(others, waiting_.end());
  return items;
}

std::vector<std::vector<size_t>> WorkersPool::Choose(Peer& peer) {
  // Every thread has one group. While there are many, or where they are short, some more, so that no thread
  // waits for its next; the last ones go to whoever is free.
  constexpr size_t kMany = 2;  // for each thread of all
  constexpr double kAheadSeconds = 0.01;
  const auto threads = static_cast<size_t>(std::max(1, peer.member.threads));
  const auto seconds = [&](size_t item) {
    const auto client = static_cast<size_t>(bout_->clients()[item]);
    return peer.seconds_per_sample * static_cast<double>(Available()[client].num_samples);
  };
  double ahead = 0;
  for (const auto& [item, memory] : peer.given) ahead += seconds(item);
  const double enough = kAheadSeconds * static_cast<double>(threads);
  const size_t largest = (bout_->clients().size() + bout_->groups() - 1) / bout_->groups();
  const auto all_threads = static_cast<size_t>(Threads());
  std::vector<std::vector<size_t>> groups;
  while (!waiting_.empty()) {
    const bool many = waiting_.size() > kMany * all_threads * largest;
    const size_t most = (many ? threads : threads - 1) * largest;
    if (peer.given.size() > most && !(peer.seconds_per_sample > 0 && ahead < enough)) break;
    groups.push_back(NextGroup());
    for (const size_t item : groups.back()) {
      ahead += seconds(item);
      peer.given.emplace(item, State());
    }
  }
  return groups;
}

void WorkersPool::Listen(Peer& peer, const std::shared_ptr<Collective>& collective) {
  while (true) {
    const absl::StatusOr<std::string> bytes = collective->Receive(peer.place);
    const absl::Status heard = bytes.ok() ? Hear(peer, *bytes) : bytes.status();
    if (heard.ok()) continue;
    return Lose(peer, heard);
  }
}

absl::Status WorkersPool::Hear(Peer& peer, std::string_view bytes) {
  MUSTER_ASSIGN_OR_RETURN(const auto received, Unpack<v1::FromWorker>(bytes));
  if (received.message.has_answer()) {
    MUSTER_RETURN_IF_ERROR(Take(peer, received.message.answer(), received.blobs));
    Deal(peer);
  } else if (received.message.has_received()) {
    const MutexLock lock(&mutex_);
    peer.received = received.message.received().number();
    if (received.message.received().complete()) return absl::OkStatus();
    form_anew_ = begin_again_ = true;
    changed_.NotifyAll();
  } else if (received.message.has_sums()) {
    MUSTER_RETURN_IF_ERROR(TakeSums(peer, received.message.sums(), received.blobs));
    Deal(peer);
  } else if (received.message.has_still_there()) {
    v1::ToWorker answer;
    answer.mutable_still_there();
    return group_.collective()->Send(peer.place, Pack(answer));
  }
  return absl::OkStatus();
}

absl::Status WorkersPool::Take(Peer& peer, const v1::ClientAnswer& answer,
                               std::span<const std::string_view> blobs) {
  const auto item = static_cast<size_t>(answer.item());
  Bout* bout = nullptr;
  State memory;
  {
    const MutexLock lock(&mutex_);
    const auto given = peer.given.find(item);
    if (bout_ == nullptr || answer.bout() != bout_number_ || given == peer.given.end()) {
      return InternalError("an answer that nobody asked for");
    }
    // From here on the item is nobody else's, even if the worker is lost.
    memory = std::move(given->second);
    peer.given.erase(given);
    LearnRate(peer, answer.seconds(), item);
    bout = bout_;
    ++users_;
  }
  bool taken = false;
  const absl::Status status = Pass(peer, *bout, answer, std::move(memory), blobs, taken);
  if (!status.ok()) {
    const MutexLock lock(&mutex_);
    waiting_.push_front(item);
  }
  Release(absl::OkStatus(), taken ? 1 : 0);
  return status;
}

absl::Status WorkersPool::Pass(Peer& peer, Bout& bout, const v1::ClientAnswer& answer, State memory,
                               std::span<const std::string_view> blobs, bool& taken) {
  const auto item = static_cast<size_t>(answer.item());
  if (bout.honest()) {
    MUSTER_ASSIGN_OR_RETURN(auto update, UnpackHonest(answer, blobs));
    bout.Take(item, std::move(update));
    taken = true;
    return absl::OkStatus();
  }
  MUSTER_ASSIGN_OR_RETURN(TrainedClient trained, UnpackTrained(answer, bout.clients()[item], blobs));
  if (answer.has_update() && answer.update().has_folded()) {
    const MutexLock lock(&mutex_);
    peer.folded.push_back({item, std::move(memory), std::move(trained)});
    return absl::OkStatus();
  }
  bout.Take(item, memory, std::move(trained));
  taken = true;
  return absl::OkStatus();
}

int64_t WorkersPool::FoldFrom(const Bout& bout) const {
  const auto& folding = bout.task().task.folding;
  if (folding == nullptr || bout.honest()) return 0;
  const auto alive =
      std::count_if(peers_.begin(), peers_.end(), [](const auto& peer) { return !peer->gone; });
  // A reduction brings as much here from many as from one.
  const int64_t processes = group_.collective()->Reduces() ? 1 : alive + (own_ != nullptr ? 1 : 0);
  const int64_t bytes = folding->sums * static_cast<int64_t>(sizeof(int64_t));
  return bytes * processes / static_cast<int64_t>(bout.clients().size()) + 1;
}

void WorkersPool::AskForSums(Peer& peer) {
  v1::ToWorker message;
  {
    const MutexLock lock(&mutex_);
    if (!dealing_ || peer.gone || leaving_ || WillReduce() || peer.asked > 0 || peer.folded.empty() ||
        !peer.given.empty()) {
      return;
    }
    peer.asked = peer.folded.size();
    message.mutable_give_sums()->set_bout(bout_number_);
  }
  const absl::Status sent = group_.collective()->Send(peer.place, Pack(message));
  if (!sent.ok()) Lose(peer, sent);
}

absl::Status WorkersPool::TakeSums(Peer& peer, const v1::Sums& message,
                                   std::span<const std::string_view> blobs) {
  MUSTER_ASSIGN_OR_RETURN(const std::vector<int64_t> sums, UnpackSums(blobs));
  Bout* bout = nullptr;
  std::vector<Folded> folded;
  {
    const MutexLock lock(&mutex_);
    if (bout_ == nullptr || message.bout() != bout_number_ || peer.asked == 0) {
      return InternalError("sums that nobody asked for");
    }
    // From here on they are nobody else's, even if the worker is lost.
    const auto end = peer.folded.begin() + static_cast<std::ptrdiff_t>(peer.asked);
    folded.assign(std::make_move_iterator(peer.folded.begin()), std::make_move_iterator(end));
    peer.folded.erase(peer.folded.begin(), end);
    peer.asked = 0;
    bout = bout_;
    ++users_;
  }
  const absl::Status added = TakeFolded(*bout, sums, folded);
  Release(absl::OkStatus(), added.ok() ? folded.size() : 0);
  return added;
}

absl::Status WorkersPool::TakeFolded(Bout& bout, std::span<const int64_t> sums, std::vector<Folded>& folded) {
  const absl::Status added = bout.AddSums(sums);
  if (added.ok()) {
    for (Folded& client : folded) bout.Take(client.item, client.memory, std::move(client.trained));
  } else {
    const MutexLock lock(&mutex_);
    for (const Folded& client : folded) waiting_.push_front(client.item);
  }
  return added;
}

bool WorkersPool::WillReduce() const { return !form_anew_ && group_.collective()->Reduces(); }

bool WorkersPool::OnlySumsAreMissing() const {
  size_t folded = 0;
  for (const auto& peer : peers_) folded += peer->folded.size();
  return folded > 0 && folded == left_;
}

bool WorkersPool::ReduceSums(Bout& bout) {
  std::vector<Folded> folded;
  std::vector<size_t> ends;  // of each peer's among them
  v1::ToWorker message;
  {
    const MutexLock lock(&mutex_);
    if (!failed_.ok() || !WillReduce() || !OnlySumsAreMissing()) return !MustEnd();
    // From here on they are nobody else's, even if a worker is lost.
    for (const auto& peer : peers_) {
      std::move(peer->folded.begin(), peer->folded.end(), std::back_inserter(folded));
      peer->folded.clear();
      ends.push_back(folded.size());
    }
    message.mutable_reduce_sums()->set_bout(bout_number_);
  }
  const std::string bytes = Pack(message);
  Collective& collective = *group_.collective();
  for (const auto& peer : peers_) {
    // Who is gone makes the reduction fail, here and for those who have begun it.
    if (const absl::Status sent = collective.Send(peer->place, bytes); !sent.ok()) Lose(*peer, sent);
  }
  const size_t elements = bout.task().task.model->size();
  std::vector<int64_t> sums(static_cast<size_t>(bout.task().task.folding->sums));
  absl::Status status = collective.ReduceSum(std::span(sums).first(elements), /*on_device=*/false);
  if (status.ok()) status = collective.ReduceSum(std::span(sums).subspan(elements), /*on_device=*/false);
  if (status.ok()) {
    status = TakeFolded(bout, sums, folded);
    const MutexLock lock(&mutex_);
    if (!status.ok()) ++bout_number_;  // what the workers have kept is void
    left_ -= status.ok() ? folded.size() : 0;
  } else {
    KeepFolded(folded, ends);
  }
  if (status.ok()) return false;
  told_(absl::StrCat("the workers' sums could not be reduced and are sent one by one: ", Message(status)));
  {
    const MutexLock lock(&mutex_);
    form_anew_ = true;
  }
  for (const auto& peer : peers_) Deal(*peer);
  return true;
}

void WorkersPool::KeepFolded(std::vector<Folded>& folded, std::span<const size_t> ends) {
  const MutexLock lock(&mutex_);
  size_t next = 0;
  for (size_t i = 0; i < peers_.size(); ++i) {
    for (; next < ends[i]; ++next) {
      if (peers_[i]->gone) {
        waiting_.push_front(folded[next].item);
      } else {
        peers_[i]->folded.push_back(std::move(folded[next]));
      }
    }
  }
}

void WorkersPool::LearnRate(Peer& peer, double seconds, size_t item) {
  const int64_t samples = Available()[static_cast<size_t>(bout_->clients()[item])].num_samples;
  if (!(seconds > 0) || samples <= 0) return;
  constexpr double kNew = 0.2;  // of the mean; it follows what changes: epochs, other work on the machine
  const double rate = seconds / static_cast<double>(samples);
  peer.seconds_per_sample =
      peer.seconds_per_sample == 0 ? rate : (1 - kNew) * peer.seconds_per_sample + kNew * rate;
}

void WorkersPool::Release(const absl::Status& status, size_t taken) {
  const MutexLock lock(&mutex_);
  --users_;
  left_ -= taken;
  failed_.Update(status);
  changed_.NotifyAll();
}

void WorkersPool::Lose(Peer& peer, const absl::Status& why) {
  {
    const MutexLock lock(&mutex_);
    if (leaving_ || peer.gone) return;
    peer.gone = true;
    form_anew_ = true;
    if (absl::IsAborted(why)) {  // it may live: forming a group will tell
      begin_again_ = true;
      changed_.NotifyAll();
      return;
    }
    gone_.insert(peer.member.rank);
    PutBack(peer);
    for (const auto& other : peers_) {
      begin_again_ = begin_again_ || (!other->gone && other->received != told_number_);
    }
    changed_.NotifyAll();
  }
  TellLoss(peer.member, Message(why));
  for (const auto& other : peers_) Deal(*other);
}

void WorkersPool::TellLoss(const WorkerGroup::Member& member, const std::string& why) const {
  told_(absl::StrCat("worker ", member.rank, " (on ", member.host,
                     ") is lost; its clients go to the others: ", why));
}

bool WorkersPool::MustEnd() const {
  const bool nobody = own_ == nullptr &&
                      std::all_of(peers_.begin(), peers_.end(), [](const auto& peer) { return peer->gone; });
  return left_ == 0 || !failed_.ok() || begin_again_ || nobody || (WillReduce() && OnlySumsAreMissing());
}

void WorkersPool::Help(Bout& bout, const std::function<bool()>& cancelled) {
  if (own_ == nullptr) {
    const MutexLock lock(&mutex_);
    while (!MustEnd()) {
      if (cancelled()) failed_.Update(absl::CancelledError("the round was cancelled"));
      changed_.WaitFor(&mutex_, 0.05);
    }
    return;
  }
  own_->ForEach(own_->count(), [&](LocalTrainer& trainer, int64_t) {
    for (std::vector<size_t> items = NextHere(cancelled); !items.empty(); items = NextHere(cancelled)) {
      const absl::Status trained = TrainHere(trainer, bout, items);
      Release(trained, /*taken=*/trained.ok() ? items.size() : 0);
    }
  });
}

std::vector<size_t> WorkersPool::NextHere(const std::function<bool()>& cancelled) {
  const MutexLock lock(&mutex_);
  while (!MustEnd()) {
    if (cancelled()) failed_.Update(absl::CancelledError("the round was cancelled"));
    if (!waiting_.empty()) {
      ++users_;
      return NextGroup();
    }
    changed_.WaitFor(&mutex_, 0.05);
  }
  return {};
}

}  // namespace muster
