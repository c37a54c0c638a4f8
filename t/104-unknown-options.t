use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Run;
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Test::More;

# A misspelt option opened the door: listen(ssl_certificate => ..., orgins => ...,
# on_handshak => sub { 0 }) warned, and served plaintext to everybody.

my $context = EV::Websockets::Context->new;
socketpair(my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die $!;
my %call = (
    new     => sub { EV::Websockets::Context->new(@_) },
    connect => sub { $context->connect(url => 'ws://127.0.0.1:1/', on_error => sub { }, @_) },
    listen  => sub { $context->listen(host => '127.0.0.1', @_) },
    adopt   => sub { $context->adopt(fh => $near, @_) },
    shutdown => sub { EV::Websockets::Context->new->shutdown(@_) },
);

# [ method, what is written, what is meant; undef: nothing is near ]
for (
    [ listen => orgins          => 'origins' ],
    [ listen => origin          => 'origins' ],
    [ listen => origns          => 'origins' ],
    [ listen => Origins         => 'origins' ],
    [ listen => on_handshak     => 'on_handshake' ],
    [ listen => on_hadnshake    => 'on_handshake' ],
    [ listen => onhandshake     => 'on_handshake' ],
    [ listen => ssl_certificate => 'ssl_cert' ],
    [ listen => ssl_key_file    => 'ssl_key' ],
    [ listen => 'ssl-cert'      => 'ssl_cert' ],
    [ listen => ssl_client_CA   => 'ssl_client_ca' ],
    [ listen => ssl_verfiy_client => 'ssl_verify_client' ],
    [ listen => hots            => 'host' ],
    [ listen => hostname        => 'host' ],
    [ listen => max_mesage_size => 'max_message_size' ],
    [ listen => colour          => undef ],
    [ listen => on_             => undef ],
    [ listen => ''              => undef ],
    [ listen => 'x'             => undef ],
    [ listen => 'o' x 100_000   => undef ],
    [ adopt  => on_mesage       => 'on_message' ],
    [ adopt  => inital_data     => 'initial_data' ],
    [ adopt  => colour          => undef ],
    [ connect => ssl_verfy      => 'ssl_verify' ],
    [ connect => SSL_verify     => 'ssl_verify' ],
    [ connect => ssl_           => undef ],
    [ connect => on_messsage    => 'on_message' ],
    [ connect => on_open        => undef ],
    [ new    => ssl_certs       => 'ssl_cert' ],
    [ new    => on_anything     => undef ],
    [ shutdown => on_close_done => undef ],
) {
    my ($method, $written, $meant) = @$_;
    my $name = length $written > 60 ? substr($written, 0, 60) : $written;
    croaks_with { $call{$method}->($written => sub { 1 }) }
        "$method: unknown option '$name'" . ($meant ? ": did you mean '$meant'?" : ''), "$method: '$name'";
}
croaks_with { $call{$_->[0]}->($_->[1] => 1) } "$_->[0]: unknown option '$_->[1]': it is an option of $_->[2]",
    "$_->[0]: $_->[1], which is another's"
    for [ listen => 'url', 'connect' ], [ connect => 'ssl_sni', 'listen' ], [ connect => 'origins', 'listen and adopt' ],
    [ new => 'ssl_verify', 'connect' ], [ adopt => 'ssl_cert', 'new, connect and listen' ];
croaks_with { $call{listen}->("\x{263a}rigins" => 1) } 'listen: unknown option \'\x{e2}\x{98}\x{ba}rigins\': did you mean \'origins\'?',
    'characters beyond ASCII';

is_deeply([ $context->listeners ], [], 'a croak leaves no listener behind');
is_deeply([ warned() ], [], 'and no warning');

# The hash of an option is as strict, for all who take it.
for my $method (qw(connect listen adopt)) {
    croaks_with { $call{$method}->(deflate => { $_->[0] => 1 }) }
        "$method: deflate: unknown option '$_->[0]'$_->[1]", "$method: deflate => { $_->[0] }"
        for [ treshold => ": did you mean 'threshold'?" ], [ window => '' ],
        [ server_no_context_takover => ": did you mean 'server_no_context_takeover'?" ];
}

# What 0.10 ignored and what leaves no door open goes on with a warning, one for
# each name and method.
for (1, 2) {
    $call{connect}->(conect_timeout => 1);
    $call{connect}->(timeout        => 1);
    $call{new}->(prxy    => 1);
    $call{new}->(timeout => 1);
    $call{shutdown}->(tmieout => 1);
}
is_deeply(
    [ map { my $text = $_; $text =~ s/ at \Q$0\E line \d+\.\n\z//; $text } warned() ],
    [   map { "EV::Websockets: $_" }
            "connect: unknown option 'conect_timeout': did you mean 'connect_timeout'?",
        "connect: unknown option 'timeout'",
        "new: unknown option 'prxy': did you mean 'proxy'?",
        "new: unknown option 'timeout'",
        "shutdown: unknown option 'tmieout': did you mean 'timeout'?",
    ],
    'elsewhere there is a warning, once for each name and method'
);

finish;
