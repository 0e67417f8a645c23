
# What the TAP tests share: a server with the library preloaded, keys whose
# raw form follows from their names, load, and waiting that ends.
#
# A key NAME is opened by the text NAME-key.

package ApikeysTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  new_node start_node add_extension add_keys id_of verify last_use stored_use
  stats wait_for wait_until wait_for_flush_worker wait_for_server kill_cluster
  count_in_log start_load end_load answer_after within_5_seconds is_sound
  build_module
);

my $nkeys = 0;

# Builds a library of test/NAME, in a directory of its own, which is returned.
sub build_module
{
	my ($name) = @_;
	my $build = PostgreSQL::Test::Utils::tempdir();
	my $root = abs_path("$FindBin::RealBin/../..");

	system_or_bail("cp $root/test/$name/* $build");
	system_or_bail('make', '--silent', '-C', $build, "SRC=$root/src",
		'PG_CONFIG=' . ($ENV{PG_CONFIG} // 'pg_config'), 'with_llvm=no');
	return $build;
}

# The server is preloaded and quiet: what it writes is what a test makes it
# write.  Settings are given as lines.
sub new_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', join "\n",
		"shared_preload_libraries = 'apikeys'",
		'autovacuum = off',
		'checkpoint_timeout = 1h',
		'log_statement = none',
		@settings);
	return $node;
}

# Starts it as well, with the extension in the database postgres.
sub start_node
{
	my $node = new_node(@_);

	$node->start;
	add_extension($node, 'postgres');
	return $node;
}

sub add_extension
{
	my ($node, $dbname) = @_;

	$node->safe_psql($dbname, 'SET client_min_messages = warning; CREATE EXTENSION apikeys CASCADE');
}

sub add_keys
{
	my ($node, $dbname, @names) = @_;

	$node->safe_psql($dbname, sprintf q{
		SELECT apikey_import(digest(name || '-key', 'sha256'), name, name || '-...')
		FROM unnest('{%s}'::text[]) name}, join ',', @names);
}

# SQL for the id of a key.
sub id_of
{
	my ($name) = @_;

	return "(SELECT id FROM apikeys_data.key WHERE name = '$name')";
}

sub verify
{
	my ($node, $dbname, $name) = @_;

	return $node->safe_psql($dbname, "SELECT code FROM apikey_verify('$name-key')");
}

# The live last use of a key, and what its table knows; '' for none.
sub last_use
{
	my ($node, $dbname, $name) = @_;

	return $node->safe_psql($dbname, "SELECT last_used_at FROM apikeys.info WHERE name = '$name'");
}

sub stored_use
{
	my ($node, $dbname, $name) = @_;

	return $node->safe_psql($dbname,
		'SELECT last_used_at FROM apikeys_data.usage WHERE key_id = ' . id_of($name));
}

# Passes if all that is stored agrees.
sub is_sound
{
	my ($node, $dbname, $test_name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($node->safe_psql($dbname, 'SELECT * FROM apikeys.check()'), '', "$test_name: all is sound");
}

# The value of one expression over apikeys.stats.
sub stats
{
	my ($node, $expression) = @_;

	return $node->safe_psql('postgres', "SELECT $expression FROM apikeys.stats");
}

# Passes once the query gives true.
sub wait_for
{
	my ($node, $dbname, $query, $test_name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($dbname, $query), $test_name);
}

# Returns once the code gives true; dies if it never does.
sub wait_until
{
	my ($what, $code) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $result;

	until ($result = $code->())
	{
		die "waited in vain: $what" if time() > $end;
		usleep(10_000);
	}
	return $result;
}

# Kills the server and all its processes, the postmaster first.  A process
# that was killed is there until somebody has reaped it, and as long its
# postmaster.pid counts.
sub kill_cluster
{
	my ($node) = @_;
	my $postmaster = $node->{_pid};
	my @pids = $postmaster;

	# Or it starts others after they have been counted.
	kill 'STOP', $postmaster;
	foreach my $line (split /\n/, `ps -A -o pid=,ppid=`)
	{
		my ($pid, $parent) = split ' ', $line;
		push @pids, $pid if $parent == $postmaster;
	}
	$node->kill9;
	kill 'KILL', @pids;
	wait_until("process $_ is gone", sub { !kill 0, $_ }) foreach @pids;
}

# Returns once a flush worker has been through a database: it has written the use
# of a key that is new, and with it all that was due before.
sub wait_for_flush_worker
{
	my ($node, $dbname) = @_;
	my $name = 'new ' . ++$nkeys;

	add_keys($node, $dbname, $name);
	verify($node, $dbname, $name);
	wait_until('a flush worker has come', sub { stored_use($node, $dbname, $name) ne '' });
}

# Returns once the server takes connections again.  Not with a query: a psql
# that is turned away may be gone before it is sent, and then IPC::Run dies.
sub wait_for_server
{
	my ($node) = @_;

	wait_until('the server takes connections', sub {
		return system($node->installed_command('pg_isready'), '--quiet',
			'--host', $node->host, '--port', $node->port) == 0;
	});
}

sub count_in_log
{
	my ($node, $pattern, $offset) = @_;
	my $log = slurp_file($node->logfile, $offset // 0);
	my @hits = $log =~ /$pattern/g;

	return scalar @hits;
}

# Runs a pgbench script in the background, with arguments as for pgbench.
my $nloads = 0;

sub start_load
{
	my ($node, $dbname, $script, @arguments) = @_;
	my %load = (out => '', err => '');
	my $file = $node->basedir . '/load' . ++$nloads . '.sql';

	open my $handle, '>', $file or die "$file: $!";
	print $handle $script;
	close $handle;

	local $ENV{PGAPPNAME} = 'pgbench';
	$load{run} = IPC::Run::start(
		[
			$node->installed_command('pgbench'), '--no-vacuum',
			'--file', $file,
			'--host', $node->host,
			'--port', $node->port,
			@arguments, $dbname
		],
		'<', \undef, '>', \$load{out}, '2>', \$load{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%load;
}

# Waits until it has ended by itself; true unless something went wrong.
sub end_load
{
	my ($load) = @_;

	return $load->{run}->finish;
}

# What a background session answers to a query that has to wait for a lock, until the
# code has been executed.
sub answer_after
{
	my ($node, $session, $query, $code) = @_;
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->{stdin} .= "$query;\n\\echo done\n";
	$session->{run}->pump_nb;
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid")
	  or die "does not wait: $query";
	$code->();
	$session->{run}->pump until $session->{stdout} =~ s/^done\n//m;
	my $answer = $session->{stdout} =~ s/\n+$//r;
	$session->{stdout} = '';
	return $answer;
}

# The longest that anybody may be kept waiting by our workers.
sub within_5_seconds
{
	my ($test_name, $code) = @_;
	my $start = time();
	my $result = $code->();

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $seconds = time() - $start;
	ok($result && $seconds < 5, $test_name)
	  or diag sprintf('after %.1f s: %s', $seconds, $result ? 'done' : 'refused');
}

1;
