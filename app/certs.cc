#include <CLI/CLI.hpp>
#include <cstdio>

#include "absl/strings/str_join.h"
#include "app/commands.h"
#include "core/transport/certificates.h"

namespace muster {
namespace {

absl::Status MakeOrRevoke(const AuthorityOptions& options, const std::string& revoke,
                          const std::string& token) {
  if (!revoke.empty()) {
    MUSTER_RETURN_IF_ERROR(Revoke(options.directory, revoke));
    std::printf("%s is in %s/revoked.txt\n", revoke.c_str(), options.directory.c_str());
    return absl::OkStatus();
  }
  MUSTER_ASSIGN_OR_RETURN(const std::vector<std::string> written, MakeCertificates(options));
  size_t certificates = 0;
  for (const std::string& path : written) certificates += path.ends_with(".pem") ? 1 : 0;
  std::printf(
      "%s: %zu new certificate%s, valid for %d days (a development CA: %s/ca.key signs for everyone who can "
      "read "
      "it)\n",
      options.directory.c_str(), certificates, certificates == 1 ? "" : "s", options.days,
      options.directory.c_str());
  if (!token.empty()) {
    MUSTER_ASSIGN_OR_RETURN(const std::string text, MakeToken(options.directory, token, options.days));
    std::printf("%s/%s.token: a token for %s\n", options.directory.c_str(), token.c_str(), token.c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddCerts(CLI::App& app, std::function<absl::Status()>& action) {
  struct Arguments {
    AuthorityOptions options;
    std::string revoke, token;
  };
  const auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("certs", "Make a development CA and mTLS certificates, revoke them");
  command->add_option("DIR", arguments->options.directory, "Folder; what is there already is kept")
      ->required();
  command->add_option("--clients", arguments->options.clients, "Certificates client-0 .. client-(N-1)")
      ->check(CLI::Range(0, 100000));
  command->add_option("--days", arguments->options.days, "Validity (default: 365)")
      ->check(CLI::Range(1, 36500));
  command
      ->add_option("--server-name", arguments->options.server_names,
                   "Another name or address of the coordinator, beside localhost, 127.0.0.1, ::1, this "
                   "host's name and "
                   "\"coordinator\"")
      ->take_all()
      ->expected(1);
  auto* token =
      command
          ->add_option("--token", arguments->token, "Make DIR/NAME.token, an identity without a certificate")
          ->type_name("NAME");
  command->add_option("--revoke", arguments->revoke, "Put NAME's certificate and token on DIR/revoked.txt")
      ->type_name("NAME")
      ->excludes(token);
  command->callback([&action, arguments] {
    action = [arguments] { return MakeOrRevoke(arguments->options, arguments->revoke, arguments->token); };
  });
}

}  // namespace muster
