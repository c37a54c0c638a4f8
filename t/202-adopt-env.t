use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Adopt;
use EV;
use EV::Websockets;
use Events;
use Frame;
use Run;
use Test::More;
use Tie::Handle;

# A request that a PSGI server has read, and handles that cannot be adopted.

{
    package CountingHash;
    require Tie::Hash;
    our @ISA = 'Tie::StdHash';
    our %fetched;
    sub TIEHASH { my ($class, %hash) = @_; return bless {%hash}, $class }
    sub FETCH { $fetched{ $_[1] }++; return $_[0]{ $_[1] } }

    package TiedSocket;
    our @ISA = 'Tie::Handle';
    sub TIEHANDLE { return bless {}, $_[0] }
}

my $context = EV::Websockets::Context->new;
my $key     = 'dGhlIHNhbXBsZSBub25jZQ==';

sub env {
    my (%o) = @_;
    my %env = (
        REQUEST_METHOD => 'GET', REQUEST_URI => '/a%20b?q=%31', SCRIPT_NAME => '', PATH_INFO => '/a b',
        QUERY_STRING => 'q=%31', SERVER_PROTOCOL => 'HTTP/1.1', SERVER_NAME => 'h', SERVER_PORT => 80,
        HTTP_HOST => 'h:80', HTTP_UPGRADE => 'websocket', HTTP_CONNECTION => 'keep-alive, Upgrade',
        HTTP_SEC_WEBSOCKET_KEY => $key, HTTP_SEC_WEBSOCKET_VERSION => 13, HTTP_X_OWN_HEADER => 'yes',
        HTTP_COOKIE => 'a=1; b=2', 'psgi.version' => [ 1, 1 ], 'psgi.input' => undef, 'psgi.errors' => \*STDERR,
        'psgi.url_scheme' => 'http', %o,
    );
    delete $env{$_} for grep { !defined $o{$_} } keys %o;
    return \%env;
}

sub adopted {
    my ($env, %o) = @_;
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (peer_on($far), Events->new);
    my $conn = $context->adopt(env => { %$env, 'psgix.io' => $near }, $events->handlers(%o));
    run_until(sub { $events->count('connect') && defined $peer->head }, 'connected');
    return ($peer, $events, $conn);
}

subtest 'a PSGI environment' => sub {
    my ($peer, $events, $conn) = adopted(
        env(HTTP_SEC_WEBSOCKET_PROTOCOL => 'b, a'), protocol => 'a', headers => { 'X-A' => 1 },
        initial_data => frame(mask => 'abcd', opcode => TEXT, payload => 'first'),
    );
    is($peer->status, 101, 'is accepted');
    is(($peer->header('Sec-WebSocket-Accept'))[0], accept_key($key), 'accept key');
    is_deeply([ $peer->header('X-A'), $conn->get_protocol ], [ 1, 'a' ], 'header, subprotocol');
    my ($headers) = @{ $events->last_of('connect') };
    is_deeply($headers, {
        Path => '/a b', Query => 'q=%31', URI => '/a%20b?q=%31', Host => 'h:80', Upgrade => 'websocket',
        Connection => 'keep-alive, Upgrade', 'Sec-WebSocket-Key' => $key, 'Sec-WebSocket-Version' => 13,
        'Sec-WebSocket-Protocol' => 'b, a', 'X-Own-Header' => 'yes', Cookie => 'a=1; b=2',
    }, 'all headers, and nothing else of the environment');
    run_until(sub { $events->count('message') }, 'initial_data is what follows the request');
};

subtest 'without REQUEST_URI' => sub {
    for my $case (
        [ '/app', '/a b%', 'x=1', '/app/a%20b%25?x=1' ], [ '', '', '', '/' ], [ '', "/\xe9\n?#", undef, '/%E9%0A%3F%23' ],
    ) {
        my ($script, $path, $query, $uri) = @$case;
        my (undef, $events) = adopted(env(
            REQUEST_URI => undef, SCRIPT_NAME => $script, PATH_INFO => $path, QUERY_STRING => $query));
        is($events->last_of('connect')->[0]{URI}, $uri, "URI is $uri");
    }
};

# The bug: what a client had sent was something else if perl kept it in UTF-8.
subtest 'values are octets, however perl keeps them' => sub {
    my ($upgraded, $path) = ("caf\xe9", "/caf\xe9");
    utf8::upgrade($_) for $upgraded, $path;
    my (undef, $events) = adopted(env(HTTP_X_OWN_HEADER => $upgraded, REQUEST_URI => undef, PATH_INFO => $path, QUERY_STRING => ''));
    my ($headers) = @{ $events->last_of('connect') };
    is($headers->{'X-Own-Header'}, "caf\xe9", 'a header');
    is($headers->{URI}, '/caf%E9', 'the path');
};

subtest 'fh goes before psgix.io, which is then not looked at' => sub {
    my ($near, $far) = unix_pair();
    my ($peer, $events) = (peer_on($far), Events->new);
    tie my %env, 'CountingHash', %{ env('psgix.io' => 'none') };
    $context->adopt(env => \%env, fh => $near, $events->handlers);
    run_until(sub { $events->count('connect') }, 'connected');
    is($CountingHash::fetched{'psgix.io'}, undef, 'not read');
};

# Reading psgix.io can take the connection away from the server, which is to
# answer a request that is refused.
subtest 'a request that is refused leaves psgix.io alone' => sub {
    my %refused = (
        'another method'    => [ 426, REQUEST_METHOD => 'POST' ],
        'HTTP/1.0'          => [ 426, SERVER_PROTOCOL => 'HTTP/1.0' ],
        'no Upgrade'        => [ 426, HTTP_UPGRADE => undef ],
        'no key'            => [ 400, HTTP_SEC_WEBSOCKET_KEY => undef ],
        'a body'            => [ 400, CONTENT_LENGTH => 5 ],
        'no Host'           => [ 400, HTTP_HOST => undef ],
        'another version'   => [ 426, HTTP_SEC_WEBSOCKET_VERSION => 8 ],
        'a strange target'  => [ 400, REQUEST_URI => 'x' ],
    );
    my ($near) = unix_pair();
    for my $what (sort keys %refused) {
        my ($status, @change) = @{ $refused{$what} };
        %CountingHash::fetched = ();
        tie my %env, 'CountingHash', %{ env('psgix.io' => $near, @change) };
        croaks_like { $context->adopt(env => \%env) } qr/\AFailed to adopt socket: $status [A-Z]/, $what;
        is($CountingHash::fetched{'psgix.io'}, undef, "$what: not read");
    }
};

croaks_with { $context->adopt(env => env()) }
    'adopt: env has no psgix.io: this server does not hand out its sockets; or give fh', 'no psgix.io';
croaks_like { $context->adopt(env => []) } qr/\Aadopt: env must be a hash reference \(got 'ARRAY/, 'env that is no hash';
croaks_like { $context->adopt(env => env(HTTP_X => [])) } qr/\Aadopt: env: HTTP_X must be a string/, 'a header that is none';

# ---- handles that are not what their descriptor is ----

my ($near) = unix_pair();
tie *$near, 'TiedSocket';
croaks_with { $context->adopt(fh => $near) }
    'adopt: fh is a tied handle, whose bytes are not those of a descriptor', 'a tied handle';
untie *$near;
SKIP: {
    skip 'IO::Socket::SSL is not installed', 1 if !eval { require IO::Socket::SSL; 1 };
    my ($plain) = tcp_pair();
    bless $plain, 'IO::Socket::SSL';
    croaks_with { $context->adopt(fh => $plain) }
        'adopt: fh is an IO::Socket::SSL handle, whose TLS session cannot be taken over', 'IO::Socket::SSL';
    bless $plain, 'IO::Socket::IP';
}
SKIP: {
    skip 'AnyEvent::Handle is not installed', 1 if !eval { require AnyEvent::Handle; 1 };
    my ($plain) = unix_pair();
    my $handle = AnyEvent::Handle->new(fh => $plain, on_error => sub { });
    croaks_like { $context->adopt(fh => $handle) } qr/\AInvalid filehandle: of an AnyEvent::Handle give its fh/,
        'AnyEvent::Handle';
}

finish;
