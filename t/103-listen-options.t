use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use IO::Socket::INET;
use RawPeer;
use Run;
use Test::More;

# listen: every croak, and the ports.

my $context = EV::Websockets::Context->new;

croaks_with { $context->listen('port') } "odd number of options: key 'port' has no value", 'one lone option';
croaks_with { $context->listen(port => 0, 'on_message') }
    "odd number of options: key 'on_message' has no value", 'a last option without a value';

croaks_with { $context->listen(port => 0, $_ => undef) }
    "listen: option '$_' must be a defined string", "$_ => undef"
    for qw(name protocol ssl_cert ssl_key ssl_ca);

# A misspelt key of a configuration left a listener, or a peer, without any limit.
for my $name (qw(limits send_queue_policy)) {
    my %others = (connect => [ url => 'ws://127.0.0.1:1' ], listen => [], adopt => [ fh => \*STDIN ]);
    croaks_with { $context->$_(@{ $others{$_} }, $name => undef) } "$_: option '$name' must be a defined string", "$_: $name => undef"
        for sort keys %others;
}

croaks_with { $context->listen(port => 0, name => 'default') }
    "listen: vhost name 'default' is reserved", "name => 'default'";

croaks_with { $context->listen(port => 0, ssl_cert => 'cert.pem') }
    'listen: ssl_cert and ssl_key must both be set for TLS (only ssl_cert was given)', 'only ssl_cert';
croaks_with { $context->listen(port => 0, ssl_key => 'key.pem') }
    'listen: ssl_cert and ssl_key must both be set for TLS (only ssl_key was given)', 'only ssl_key';

my $taken = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => 0, Listen => 1);
my $in_use = do { local $! = Errno::EADDRINUSE(); "$!" };
croaks_like { $context->listen(port => $taken->sockport) }
    qr/\Alisten: failed to bind port: .*\Q$in_use\E.* at \Q$0\E line \d+/, 'a port in use: the text says so';

croaks_like { $context->listen(port => $_) } qr/port/, "port => $_" for -1, 65536, 70000, 'http', 1.5;
croaks_like { $context->listen(max_message_size => $_) } qr/max_message_size/, "max_message_size => $_"
    for -1, 'much';
croaks_like { $context->listen(headers => $_) } qr/headers/, 'headers => ' . (ref || "'$_'")
    for 1, 'X-A: b', [ 'X-A', 'b' ], sub { };
croaks_like { $context->listen(headers => { 'X-Named' => "a\r\nX-Evil: 1" }) }
    qr/header.*X-Named/is, 'CR LF in a header value';
croaks_like { $context->listen(protocol => "chat\r\n") } qr/protocol/, 'CR LF in the protocol';

for my $name (qw(on_connect on_message on_close on_error on_pong on_drain on_handshake)) {
    croaks_like { $context->listen(port => 0, $name => $_) } qr/$name/, "$name => " . (ref || "'$_'")
        for 1, 0, '', 'main::handler', [], {};
}
is(join('', warned()), '', 'no warning so far');

# Every listen that croaked must have given its port back: nothing keeps the
# loop alive.
EV::run();
pass('a croak leaves no listener behind');

my @undef = map { $_ => undef } qw(on_connect on_message on_close on_error on_pong on_drain on_handshake);
my $port = $context->listen(@undef);
like($port, qr/\A[1-9]\d*\z/, 'port defaults to any free one, and listen returns it');
cmp_ok($port, '<', 65536, 'a port number');
my $other = $context->listen(port => 0);
isnt($other, $port, 'a second listener, of the same default name, has its own');

my $free = do { IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => 0, Listen => 1)->sockport };
is($context->listen(port => $free, name => 'fixed'), $free, 'a port that was asked for');

for my $to ($port, $other, $free) {
    my $peer = RawPeer->connect($to)->upgrade;
    run_until(sub { $peer->head }, "port $to answers");
    is($peer->status, 101, 'with 101');
}

croaks_with { $context->listen(unheard_of => 1) } "listen: unknown option 'unheard_of'", 'an unknown option';

finish();
