# Means over the seeds, beside what an independent implementation measured (seed 0), and the criteria.
BEGIN {
  split("single-sign-1e-2 1.02 single-sign-3e-3 .404 single-sign-1e-3 .386 single-sign-3e-4 .423 single-sign-1e-4 .496 " \
        "single-sign-3e-5 .683 single-sign-1e-5 1.17 single-alias .366 single-alias_adam .322 vote-sign-1e-2 .820 " \
        "vote-sign-3e-3 .422 vote-sign-1e-3 .448 vote-sign-3e-4 .559 vote-sign-1e-4 .821 vote-alias .490 vote-fedsgd .489 " \
        "skewed-sign-1e-2 1.44 skewed-sign-3e-3 .870 skewed-sign-1e-3 .646 skewed-sign-3e-4 .713 skewed-sign-1e-4 1.05 " \
        "skewed-alias .872", pairs, " ")
  for (i = 1; i in pairs; i += 2) { order[++count] = pairs[i]; expected[pairs[i]] = pairs[i + 1] }
}
{ loss[$1] += $2; accuracy[$1] += $3; bytes[$1] += $4; ++runs[$1] }
END {
  printf "%-22s %10s %9s %9s %12s\n", "", "train loss", "expected", "accuracy", "upload bytes"
  for (i = 1; i <= count; ++i) {
    name = order[i]
    if (!runs[name]) continue
    loss[name] /= runs[name]
    printf "%-22s %10.3f %9s %9.3f %12.0f\n", name, loss[name], expected[name], accuracy[name] / runs[name], bytes[name] / runs[name]
    arm = name
    sub(/-sign-.*/, "", arm)
    if (arm == name) continue
    if (!(arm in best) || loss[name] < best[arm]) best[arm] = loss[name]
    if (!(arm in worst) || loss[name] > worst[arm]) worst[arm] = loss[name]
    if (arm == "vote") behind += loss[name] > loss["vote-alias"] / runs["vote-alias"]
  }
  print ""
  check(loss["single-alias"] <= 1.1 * best["single"] && loss["single-alias"] <= 0.5 * worst["single"],
        "one node: alias within 1.10 times the best constant step, at most half of the worst")
  check(loss["vote-alias"] <= 1.25 * best["vote"] && behind >= 3,
        "majority vote: alias within 1.25 times the best constant step, better than 3 of the 5")
  check(bytes["vote-alias"] / runs["vote-alias"] * 30 <= bytes["vote-fedsgd"] / runs["vote-fedsgd"],
        sprintf("its uplink is 1/%.1f of FedSGD's, at most 1/30", bytes["vote-fedsgd"] / bytes["vote-alias"]))
  exit failures > 0
}
function check(good, what) { print (good ? "  pass  " : "  FAIL  ") what; if (!good) ++failures }
