use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Certificates;
use EV;
use EV::Websockets;
use Events;
use Run;
use Test::More;

# What the log says of TLS: what was agreed on, and why it was not.

my $made = Certificates->new;
$made->ca('ca');
$made->issue('good', issuer => 'ca');

my @lines;
EV::Websockets::on_log(sub { push @lines, "$_[0]: $_[2]" });

sub has {
    my ($pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(scalar(grep { $_ =~ $pattern } @lines), $name) || diag(join "\n", @lines);
}

my $context = EV::Websockets::Context->new;
my ($good, $bad) = (Events->new, Events->new);
my $port = $context->listen($made->listen_with('good'));
has(qr/\Adescriptor: fd \d+ is opened: listens at .*:$port\z/, 'where it listens');

$context->connect(url => "wss://127.0.0.1:$port/", ssl_ca => $made->file('ca.pem'), $good->handlers);
run_until(sub { $good->count('connect') }, 'connected');
is(scalar(grep { /\Ahandshake: TLS is agreed on: TLSv1\.3 TLS_\w+\z/ } @lines), 2, 'what both ends have agreed on');

@lines = ();
$context->connect(url => "wss://127.0.0.1:$port/", ssl_ca => $made->file('good.pem'), $bad->handlers);
run_until(sub { $bad->count('error') && grep { /went away/ } @lines }, 'a certificate that is not believed');
has(qr/\Aerror: given up: TLS handshake with 127\.0\.0\.1: /, 'why, for the client');
has(qr/\Aerror: the client went away during the upgrade: /, 'and for the server');
EV::Websockets::on_log(undef);

finish();
