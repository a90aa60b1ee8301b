// Runs the muster command as a user would: a real process, its output and its exit code.
#ifndef MUSTER_TESTS_E2E_PROCESS_H_
#define MUSTER_TESTS_E2E_PROCESS_H_

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

extern char** environ;

namespace muster {

inline std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void WriteAll(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class Process {
 public:
  // Starts `arguments` (the muster command first); standard output is a pipe, standard error a file.
  Process(std::vector<std::string> arguments, const std::string& folder)
      : error_path_(folder + "/stderr.txt") {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, error_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    if (posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ) != 0) abort();
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = fdopen(ends[0], "r");
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
    fclose(output_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The next line of standard output without its end; "" at its end.
  std::string ReadLine() {
    std::string line;
    for (int c = fgetc(output_); c != EOF && c != '\n'; c = fgetc(output_)) line += static_cast<char>(c);
    return line;
  }
  pid_t pid() const { return pid_; }
  void Signal(int number) const { kill(pid_, number); }
  // The processes that it has started itself and that live.
  std::vector<pid_t> Children() const {
    const std::string pid = std::to_string(pid_);
    std::istringstream in(ReadAll("/proc/" + pid + "/task/" + pid + "/children"));
    return {std::istream_iterator<pid_t>(in), {}};
  }
  // Reads the rest of the output and waits. The exit code, or minus the signal that ended it.
  int Wait() {
    for (int c = fgetc(output_); c != EOF; c = fgetc(output_)) rest_ += static_cast<char>(c);
    int status = 0;
    rusage usage;
    wait4(pid_, &status, 0, &usage);
    peak_bytes_ = usage.ru_maxrss * 1024;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  const std::string& rest() const { return rest_; }
  // After Wait: the most memory it held.
  long peak_bytes() const { return peak_bytes_; }
  std::string error() const { return ReadAll(error_path_); }

 private:
  const std::string error_path_;
  pid_t pid_ = -1;
  FILE* output_ = nullptr;
  std::string rest_;
  long peak_bytes_ = 0;
};

struct Result {
  int code = 0;
  std::string output;
  std::string error;
};

inline std::string Muster() {
  const char* path = getenv("MUSTER");
  return path != nullptr ? path : "muster";
}

inline Result RunMuster(std::vector<std::string> arguments, const std::string& folder) {
  arguments.insert(arguments.begin(), Muster());
  Process process(std::move(arguments), folder);
  Result result;
  result.code = process.Wait();
  result.output = process.rest();
  result.error = process.error();
  return result;
}

}  // namespace muster

#endif  // MUSTER_TESTS_E2E_PROCESS_H_
