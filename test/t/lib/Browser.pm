
# A headless Chromium, by the WebDriver protocol (https://www.w3.org/TR/webdriver2/).

package Browser;

use strict;
use warnings;

use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ApikeysTest;

# The member of a found element that has its id, as the protocol names it.
my $element_id = 'element-6066-11e4-a52e-4f735466cecf';

# Starts one; nothing if there is none.
sub start
{
	my ($class) = @_;
	my ($driver) = grep { -x } map { "$_/chromedriver" } split(/:/, $ENV{PATH}), '/usr/bin';
	my $home = PostgreSQL::Test::Utils::tempdir_short;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $self = bless { url => "http://127.0.0.1:$port", http => HTTP::Tiny->new(timeout => 60) }, $class;

	return if !$driver;
	local %ENV = (%ENV, HOME => $home, TMPDIR => $home);
	$self->{driver} = IPC::Run::start([ $driver, "--port=$port" ], '>', \$self->{out}, '2>&1');
	wait_until('the browser is up', sub { $self->{http}->get("$self->{url}/status")->{success} });
	$self->{session} = $self->_ask('POST', '/session', { capabilities => { alwaysMatch => {
		'goog:chromeOptions' => { args => [ '--headless=new', '--no-sandbox', '--disable-gpu',
			'--disable-dev-shm-usage', "--user-data-dir=$home/profile", '--window-size=1200,800' ] } } } })->{sessionId};
	return $self;
}

sub stop
{
	my ($self) = @_;
	my $driver = delete $self->{driver} or return;

	eval { $self->_in_session('DELETE', '') };
	$driver->kill_kill;
}

# Also if the test dies.
sub DESTROY
{
	my ($self) = @_;
	local ($@, $?);

	$self->stop;
}

sub _ask
{
	my ($self, $method, $path, $body) = @_;
	my $response = $self->{http}->request($method, $self->{url} . $path,
		$method eq 'POST' ? { content => encode_json($body // {}), headers => { 'Content-Type' => 'application/json' } } : {});
	my $value = decode_json($response->{content})->{value};

	die "$path: $value->{error}: $value->{message}" if !$response->{success};
	return $value;
}

sub _in_session
{
	my ($self, $method, $path, $body) = @_;

	return $self->_ask($method, "/session/$self->{session}$path", $body);
}

sub open
{
	my ($self, $url) = @_;

	$self->_in_session('POST', '/url', { url => $url });
}

# Sets the size of what is shown.
sub size
{
	my ($self, $width, $height) = @_;

	$self->_in_session('POST', '/window/rect', { width => $width, height => $height });
}

# The element that a CSS selector finds, once it is there.
sub find
{
	my ($self, $selector) = @_;
	my $element;

	wait_until("$selector is there", sub {
		$element = eval { $self->_in_session('POST', '/element', { using => 'css selector', value => $selector }) };
		return defined $element;
	});
	return "/element/$element->{$element_id}";
}

sub click
{
	my ($self, $selector) = @_;

	$self->_in_session('POST', $self->find($selector) . '/click');
}

sub type
{
	my ($self, $selector, $text) = @_;

	$self->_in_session('POST', $self->find($selector) . '/value', { text => $text });
}

# What a person sees of it; found again if the page has just put another in its place.
sub text
{
	my ($self, $selector) = @_;
	my $text;

	wait_until("$selector has a text", sub {
		$text = eval { $self->_in_session('GET', $self->find($selector) . '/text') };
		die $@ if $@ && $@ !~ /stale element/;
		return defined $text;
	});
	return $text;
}

# The value of an expression of JavaScript.
sub value
{
	my ($self, $expression) = @_;

	return $self->_in_session('POST', '/execute/sync', { script => "return $expression", args => [] });
}

# Writes a PNG of the window.
sub picture
{
	my ($self, $path) = @_;

	CORE::open(my $file, '>:raw', $path) or die "$path: $!";
	print $file decode_base64($self->_in_session('GET', '/screenshot'));
	close $file;
}

1;
