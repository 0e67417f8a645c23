# Latencies of verify under load.  Given: run, the directory with the percentiles.
# Columns: seconds, p50, p95, p99 in milliseconds.

set terminal svg noenhanced size 760,420 font 'sans-serif,12' background 'white'
set title 'apikey_verify among 200 connections, with changes'
set xlabel 'minutes'
set ylabel 'milliseconds'
set logscale y
set grid ytics
set border 3
set tics nomirror
set key outside right top

ways = system("cd '" . run . "' && ls *.percentiles | sed 's/.percentiles//'")
colour(way) = way eq 'direct' ? '#336791' : '#c0504d'
plot for [way in ways] for [p = 2:4] run . '/' . way . '.percentiles' \
    using ($1 / 60):p with lines linewidth 2 dashtype p - 1 linecolor rgb colour(way) \
    title sprintf('%s, p%s', way, word('50 95 99', p - 1))
