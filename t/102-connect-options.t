use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use RawServer;
use Run;
use Test::More;

# connect: every croak, and the options that are taken.

my $context = EV::Websockets::Context->new;
my $server  = RawServer->new;
my $url     = 'ws://127.0.0.1:' . $server->port . '/';

croaks_with { $context->connect('url') }
    "odd number of options: key 'url' has no value", 'one lone option';
croaks_with { $context->connect(url => $url, 'on_message') }
    "odd number of options: key 'on_message' has no value", 'a last option without a value';
croaks_with { $context->connect } 'url parameter is required', 'no options';
croaks_with { $context->connect(protocol => 'x') } 'url parameter is required', 'no url';
croaks_with { $context->connect(url => undef) } 'url parameter is required', 'url => undef';

croaks_with { $context->connect(url => $_) } 'URL must start with ws:// or wss://', "url => '$_'"
    for 'http://127.0.0.1/', 'https://127.0.0.1/', '127.0.0.1:80', '/path', '', 'ws:/127.0.0.1/',
        'wsx://127.0.0.1/', ' ws://127.0.0.1/', '//127.0.0.1/';

croaks_with { $context->connect(url => $_) }
    'connect: invalid port in url (expected 1-65535)', "url => '$_'"
    for 'ws://127.0.0.1:0/', 'ws://127.0.0.1:65536/', 'ws://127.0.0.1:99999999999999999999/',
        'ws://127.0.0.1:abc/', 'ws://127.0.0.1:-1/', 'ws://127.0.0.1:80x/',
        'ws://[::1]:0/', 'ws://[::1]:65536/', 'ws://[::1]:abc/', 'wss://127.0.0.1:70000',
        'ws://127.0.0.1:0?q', 'ws://127.0.0.1:4294967377/';

for my $bad ("\r", "\n", "\0", "\r\nX-Evil: 1") {
    (my $shown = $bad) =~ s/([\r\n\0])/sprintf '\\x%02x', ord $1/ge;
    croaks_like { $context->connect(url => $url, headers => { "X-A${bad}B" => 'v' }) }
        qr/header/i, "$shown in a header name";
    croaks_like { $context->connect(url => $url, headers => { 'X-Named' => "a${bad}b" }) }
        qr/header.*X-Named/is, "$shown in a header value: the message names the header";
    croaks_like { $context->connect(url => $url, headers => { 'X-Named' => [ 'fine', "a${bad}b" ] }) }
        qr/header.*X-Named/is, "$shown in one of several values";
    croaks_like { $context->connect(url => "${url}a${bad}b") } qr/url|path/i, "$shown in the path";
    croaks_like { $context->connect(url => "${url}?a${bad}b") } qr/url|path|query/i, "$shown in the query";
    croaks_like { $context->connect(url => $url, protocol => "chat${bad}") } qr/protocol/, "$shown in the protocol";
    croaks_like { $context->connect(url => $url, protocol => [ 'chat', "v2${bad}" ]) }
        qr/protocol/, "$shown in one of several protocols";
}

for my $name (qw(on_connect on_message on_close on_error on_pong on_drain)) {
    croaks_like { $context->connect(url => $url, $name => $_) }
        qr/$name/, "$name => " . (ref || "'$_'")
        for 1, 0, '', 'main::handler', [], {}, \my $scalar;
}

croaks_like { $context->connect(url => $url, headers => $_) } qr/headers/, "headers => " . (ref || "'$_'")
    for 1, 'X-A: b', [ 'X-A', 'b' ], sub { };
croaks_like { $context->connect(url => $url, max_message_size => $_) }
    qr/max_message_size/, "max_message_size => $_" for -1, 'much';
croaks_like { $context->connect(url => $url, connect_timeout => $_) }
    qr/connect_timeout/, "connect_timeout => $_" for -1, 'soon', 'nan';
croaks_like { $context->connect(url => 'ws://user:secret@127.0.0.1:' . $server->port) }
    qr/url/i, 'userinfo in the url';
croaks_like { $context->connect(url => $_) } qr/url/i, "a space in the url: $_"
    for 'ws://127.0.0.1:8 0', 'ws://127.0.0.1/a b', 'ws://127.0.0 .1/';
croaks_like { $context->connect(url => $_) } qr/url/i, "no host: $_" for 'ws://', 'ws:///x', 'ws://:80/', 'ws://[::1';

is_deeply([ $context->connections ], [], 'a croak leaves no connection behind');
is(join('', warned()), '', 'no warning so far');
settle();
is(scalar $server->peers, 0, 'none of them reached the server');

my $taken = 0;
my @given = map { $_ => undef } qw(on_connect on_message on_close on_error on_pong on_drain);
my $conn = $context->connect(url => $url, @given);
isa_ok($conn, 'EV::Websockets::Connection', 'on_* => undef');
run_until(sub { $conn->is_connected }, 'it connects with no callbacks at all');

my $second = $context->connect(url => $url, shiny_new_option => 1, on_connect => sub { $taken = 1 });
my @warnings = warned();
is(scalar @warnings, 1, 'an unknown option warns once');
like($warnings[0], qr/shiny_new_option/, 'by its name');
run_until(sub { $taken }, 'and the connection is made all the same');

# A value that is not there must not become a perl warning from inside.
eval { $context->connect(url => $url, headers => { 'X-Undef' => undef }) };
is(join('', grep { /uninitialized/ } warned()), '', 'an undef header value: no "uninitialized"');

{
    my $gone = EV::Websockets::Context->new;
    $gone->DESTROY;
    croaks_with { $gone->connect(url => $url) } 'Context has been destroyed', 'connect after DESTROY';
}

finish();
