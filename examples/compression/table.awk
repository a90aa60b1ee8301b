# The lines of curve.awk to the table and the criteria.
{ if (!($1 in n)) order[++arms] = $1; n[$1]++; bytes[$1, n[$1]] = $2; accuracy[$1, n[$1]] = $3 }
function last5(k,   i, s, c) { for (i = n[k]; i > 0 && c < 5; i--) { s += accuracy[k, i]; c++ } return c ? s / c : 0 }
function reach(k,   i) { for (i = 1; i <= n[k]; i++) if (accuracy[k, i] >= target) return bytes[k, i]; return 0 }
function say(ok, text) { printf "  %-4s %s\n", ok ? "ok" : "MISS", text }
END {
  final = last5("identity"); target = 0.95 * final; base = reach("identity")
  printf "%-22s %9s %12s %14s %10s\n", "arm", "accuracy", "MB in all", "MB to 95 %", "times less"
  for (a = 1; a <= arms; a++) {
    k = order[a]; need = reach(k)
    printf "%-22s %9.4f %12.2f %14s %10s\n", k, last5(k), bytes[k, n[k]] / 1e6,
           need ? sprintf("%.2f", need / 1e6) : "never", need ? sprintf("%.1f", base / need) : "-"
  }
  printf "\naccuracy: test, mean of the last 5 evaluations; 95 %%: %.4f, 0.95 of the uncompressed one\ncriteria\n", target
  e14 = reach("top_k-ef14"); e21 = reach("top_k-ef21"); best = e14 && (!e21 || e14 <= e21) ? e14 : e21
  say(best && best * 20 <= base, sprintf("1  top-k 1 %% with error feedback reaches it with 1/20 of the bytes: 1/%.1f", best ? base / best : 0))
  with = last5("top_k-ef14") > last5("top_k-ef21") ? last5("top_k-ef14") : last5("top_k-ef21")
  say(last5("top_k") < with - 0.01, sprintf("2  without error feedback it does visibly worse: %.4f against %.4f", last5("top_k"), with))
  say(last5("quantize-4") >= final - 0.01, sprintf("3  4-bit quantisation costs under 1 point: %.4f against %.4f", last5("quantize-4"), final))
}
