# The lines of curve.awk to the table and the criteria.
$3 == "eval" { k = $1 SUBSEP $2; n[k]++; up[k, n[k]] = $4; acc[k, n[k]] = $5; if ($5 > best[k]) best[k] = $5 }
$3 == "chosen" { k = $1 SUBSEP $2; m[k] = m[k] (m[k] == "" ? "" : " ") $4; if (!(k in first)) first[k] = $4; last[k] = $4
                 if ((k in before) && $4 < before[k]) falls[k] = 1; before[k] = $4 }
$3 == "total" { total[$1 SUBSEP $2] = $4 }
function last5(k,   i, s, c) { for (i = n[k]; i > 0 && c < 5; i--) { s += acc[k, i]; c++ } return s / c }
function reach(k, target,   i) { for (i = 1; i <= n[k]; i++) if (acc[k, i] >= target) return up[k, i]; return "never" }
function say(ok, text) { printf "  %-4s %s\n", ok ? "ok" : "MISS", text }
END {
  split("fixed-10 fixed-6 isp isp-2m", arms, " ")
  printf "%-9s %4s %8s %9s %12s %12s  %s\n", "arm", "seed", "uploads", "accuracy", "uploads@95%", "uploads@97%", "m after each probe"
  for (a = 1; a <= 4; a++) for (s = 0; s < 3; s++) {
    k = arms[a] SUBSEP s
    target = best["fixed-10", s]
    printf "%-9s %4d %8d %9.4f %12s %12s  %s\n", arms[a], s, total[k], last5(k), reach(k, 0.95 * target), reach(k, 0.97 * target), m[k]
    mean[arms[a]] += last5(k) / 3; up95[arms[a]] += reach(k, 0.95 * target) / 3
    if (reach(k, 0.95 * target) == "never") missed[arms[a]] = 1
  }
  print "\naccuracy: test, mean of the last 5 evaluations; uploads@95%: until 95 % of fixed-10's best accuracy of that seed"
  print "criteria"
  good = 1; for (s = 0; s < 3; s++) good = good && total["isp", s] <= 0.75 * total["fixed-10", s]
  say(good, "1  ISP uploads at most 0.75 of fixed-10's, every seed")
  say(mean["isp"] >= mean["fixed-10"] - 0.02, sprintf("2  mean accuracy within 2 points: ISP %.4f, fixed-10 %.4f", mean["isp"], mean["fixed-10"]))
  good = 1; for (s = 0; s < 3; s++) good = good && last["isp", s] >= first["isp", s]
  say(good, "3  m does not end below where it began, every seed")
  strict = 1; for (s = 0; s < 3; s++) strict = strict && !falls["isp", s]
  printf "       (%s)\n", strict ? "and it never fell in between" : "it did fall in between on some seed"
  say(!missed["isp-2m"] && up95["isp-2m"] <= 0.9 * up95["fixed-10"], sprintf("4  uploads to 95 %%: ISP with probes of 2m %d, fixed-10 %d", up95["isp-2m"], up95["fixed-10"]))
  printf "  5    honest comparison: fixed-6 reaches %.4f with %d uploads, ISP %.4f with %d\n", mean["fixed-6"], total["fixed-6", 0], mean["isp"], (total["isp", 0] + total["isp", 1] + total["isp", 2]) / 3
}
