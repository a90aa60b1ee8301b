# Means over the seeds, beside what an independent implementation measured (seeds 0 and 1), and the criteria.
BEGIN {
  split("one-adam .801/.502/.799 one-static .827/.554/.826 one-group-dro - one-also .827/.670/.829 " \
        "one-also-descent .822/.670/.823 one-also-uniform .783/.373/.780 one-also-uniform-fast .399/.000/.283 " \
        "classes-fedavg-0.05 - classes-fedavg-0.2 - classes-fedavg-0.5 - classes-also - clients-fedavg - clients-also -", pairs, " ")
  for (i = 1; i in pairs; i += 2) { order[++count] = pairs[i]; expected[pairs[i]] = pairs[i + 1] }
}
{ accuracy[$1] += $2; worst[$1] += $3; f1[$1] += $4; decile[$1] += $5; ++runs[$1] }
END {
  printf "%-22s %9s %13s %9s %13s   %s\n", "", "accuracy", "worst recall", "macro-F1", "worst decile", "expected"
  for (i = 1; i <= count; ++i) {
    name = order[i]
    if (!runs[name]) continue
    accuracy[name] /= runs[name]; worst[name] /= runs[name]; f1[name] /= runs[name]; decile[name] /= runs[name]
    printf "%-22s %9.3f %13.3f %9.3f %13s   %s\n", name, accuracy[name], worst[name], f1[name],
           decile[name] ? sprintf("%.3f", decile[name]) : "", expected[name]
  }
  print ""
  check(worst["one-also"] >= worst["one-adam"] + 0.08 && worst["one-also"] >= worst["one-static"] + 0.04,
        "1. worst recall 0.08 above Adam's and 0.04 above static weights'")
  check(f1["one-also"] >= f1["one-adam"] + 0.015 && f1["one-also"] >= f1["one-static"] - 0.01,
        "2. macro-F1 0.015 above Adam's, not 0.01 below static weights'")
  check(worst["one-also-uniform"] < worst["one-adam"], "3. with a uniform prior the worst recall falls below Adam's")
  for (name in worst) if (name ~ /^classes-fedavg/ && worst[name] > best) best = worst[name]
  check(worst["classes-also"] >= best + 0.05, "federated, groups = classes: worst recall 5 points above FedAvg's")
  printf "  note  federated, groups = clients: the worst decile has %+.1f points against FedAvg, all clients' test accuracy %+.1f\n",
         100 * (decile["clients-also"] - decile["clients-fedavg"]), 100 * (accuracy["clients-also"] - accuracy["clients-fedavg"])
  exit failures > 0
}
function check(good, what) { print (good ? "  pass  " : "  FAIL  ") what; if (!good) ++failures }
