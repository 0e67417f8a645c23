# The generated parts of doc/reference.md: each between a line "<!-- begin NAME -->"
# and a line "<!-- end NAME -->".

package Page;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(parts fill);

# The parts of a text by their names, each with a line feed at its end.
sub parts
{
	my ($text) = @_;

	return $text =~ /^<!-- begin (.*?) -->\n(.*?)^<!-- end \g1 -->$/msg;
}

# Puts parts into a page, an empty line around each.  Dies if the page has no
# place for one, or a place for none.
sub fill
{
	my ($page, %parts) = @_;
	my %places = parts($page);
	my @homeless = grep { !exists $places{$_} } sort keys %parts;
	my @empty = grep { !exists $parts{$_} } sort keys %places;

	die "the page has no place for: @homeless\n" if @homeless;
	die "nothing is made for: @empty\n" if @empty;
	foreach my $name (keys %parts)
	{
		my $part = $parts{$name} =~ s/\n+\z/\n/r;

		$page =~ s/^(<!-- begin \Q$name\E -->\n).*?^(<!-- end \Q$name\E -->)$/$1\n$part\n$2/ms;
	}
	return $page;
}

1;
