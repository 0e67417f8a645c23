# One plot of the benchmark.  Given: data, style (bars or line), unit, heading.
# Columns: place, name, median, least, most.

set terminal svg size 760,380 font 'sans-serif,12' background 'white'
set datafile separator '\t'
set title heading
set ylabel unit
set yrange [0:*]
set grid ytics
set style fill solid 0.6
set border 3
set tics nomirror
set xtics noenhanced font ',10'
set bmargin 4
unset key

if (style eq 'bars') {
    set offsets graph 0.02, graph 0.02, 0, 0
    plot data using 1:3:4:5:(0.6):xtic(2) with boxerrorbars linecolor rgb '#336791'
} else {
    set xlabel 'hundred thousand verifies'
    plot data using 1:3 with lines linewidth 2 linecolor rgb '#336791'
}
