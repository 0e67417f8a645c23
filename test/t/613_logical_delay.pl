
# How long a subscriber does not know what the publisher has committed: until when a
# revoked key passes there, and by how much two servers at full rate exceed a budget
# that they share.  The figures in doc/scale.md are those that this prints.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use ApikeysTest;
use LogicalTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my @nodes = map { new_server($_) } 1, 2;
my ($first, $second) = @nodes;

publish($first, 1, 'keys', 'usage');
publish($second, 2, 'usage');
subscribe($second, $first, 'apikeys_keys', 'apikeys_usage');
subscribe($first, $second, 'apikeys_usage');

# Milliseconds from the revocation of a key, its commit included, until the
# subscriber refuses it.
sub delay
{
	my ($name) = @_;
	my $reader;

	add_keys($first, 'postgres', $name);
	wait_for_apply($second, $first);
	$reader = start_load($second, 'postgres', qq{
		DO \$\$ BEGIN
			WHILE apikey_check('$name-key') = 'VALID' LOOP PERFORM pg_sleep(0.0002); END LOOP;
			INSERT INTO refused VALUES ('$name', clock_timestamp());
		END \$\$;}, '--client', 1, '--transactions', 1);
	sleep 0.3;
	$first->safe_psql('postgres', 'SELECT apikey_revoke(' . id_of($name) . ')');
	end_load($reader);
	return $second->safe_psql('postgres', qq{
		SELECT (extract(epoch FROM r.at - i.revoked_at) * 1000)::numeric(10, 1)
		FROM refused r JOIN apikeys.info i ON i.name = r.name WHERE r.name = '$name'});
}

$second->safe_psql('postgres', 'CREATE TABLE refused (name text, at timestamptz)');
my @delays = sort { $a <=> $b } map { delay("idle $_") } 1 .. 10;
note "figure: a revoked key is refused after (ms): @delays";
cmp_ok($delays[-1], '<', 5000, 'a revocation arrives soon');

# Both spend from one budget as fast as they can, each as long as verify lets it.
$first->safe_psql('postgres', q{
	SELECT apikey_import(digest('spender-key', 'sha256'), 'spender', '...', budget_id => apikey_budget_create('shared', 100))});
wait_for_apply($second, $first);
my $spend = q{SELECT count(apikey_record_usage(v.id, cost => 0.1)) FROM apikey_verify('spender-key') v WHERE v.valid;};
my @loads = map { start_load($_, 'postgres', $spend, '--client', 2, '--time', 8) } @nodes;
ok(end_load($_), 'a load has ended') foreach @loads;
wait_for_apply($second, $first);
wait_for_apply($first, $second);

my @spent = map { $_->safe_psql('postgres', 'SELECT spent FROM apikeys.budget_info') } @nodes;
my $seconds = $first->safe_psql('postgres', q{
	SELECT extract(epoch FROM max(recorded_at) - min(recorded_at)) FROM apikeys_data.usage_entry}) || 1;
my $rate = $spent[0] / 0.1 / $seconds;
note sprintf 'figure: two servers spend 0.1 %.0f times a second, %.1f of 100', $rate, $spent[0];
is($spent[0], $spent[1], 'both know what is spent');
cmp_ok($spent[0], '>=', 100, 'all is spent');
cmp_ok($spent[0] - 100, '<=', 0.1 * $rate + 1, 'and no more beyond than passes in a second');
is($_->safe_psql('postgres', q{SELECT apikey_check('spender-key')}), 'BUDGET_EXCEEDED', $_->name . ': nothing is left') foreach @nodes;

is_sound($_, 'postgres', $_->name) foreach @nodes;
$_->stop foreach @nodes;
done_testing();
