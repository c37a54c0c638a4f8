use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use Run;
use Test::More;

# The option deflate: what it takes, what it croaks about, and what comes of it.

my $context = EV::Websockets::Context->new;
my %call = (
    connect => sub { $context->connect(url => 'ws://127.0.0.1:1/', deflate => $_[0]) },
    listen  => sub { $context->listen(deflate => $_[0]) },
    adopt   => sub { $context->adopt(fh => \*STDIN, deflate => $_[0]) },
);
my @bits   = (-1, 0, 1, 8, 16, 256 + 9, 9.5, 'nan', 'inf', '', 'wide', '9 bits', 1e300);
my @counts = (-1, 0.5, 'nan', 'inf', '', 'much', 1e300);
my %wrong  = (
    server_max_window_bits => [ '9 to 15', @bits ],
    client_max_window_bits => [ '9 to 15', @bits ],
    level                  => [ '1 to 9', -1, 0, 10, 12, 256 + 6, 1.5, 'best', '' ],
    threshold              => [ 'a whole number of bytes', @counts ],
    memory                 => [ 'a whole number of bytes', @counts ],
);
for my $method (qw(connect listen)) {
    for my $key (sort keys %wrong) {
        my ($range, @values) = @{ $wrong{$key} };
        croaks_with { $call{$method}->({ $key => $_ }) }
            "$method: deflate: $key must be $range, not '$_'", "$method: $key => '$_'" for @values;
        croaks_like { $call{$method}->({ $key => $_ }) }
            qr/\A$method: deflate: $key must be \Q$range\E, not '${\ ref}\(/, "$method: $key => a reference"
            for [9], {};
    }
    croaks_like { $call{$method}->($_) }
        qr/\A$method: deflate must be true, false or a hash reference \(got '${\ ref}\(/, "$method: deflate => $_"
        for [], [ level => 1 ], \1, sub { };
}
is_deeply([ $context->connections ], [], 'a croak leaves no connection behind');
EV::run();
pass('and no listener');
is(join('', warned()), '', 'no warning so far');

croaks_with { $call{listen}->({ window => 9 }) } "listen: deflate: unknown option 'window'", 'an unknown key';

# [connect's value, listen's, whether they agree]. The values are passed as an
# option is, or left out ('none').
{ package Switch; use overload bool => sub { ${ $_[0] } }, fallback => 1 }
sub switch { my ($on) = @_; return bless \$on, 'Switch' }

sub opened {
    my ($name, $connect, $listen) = @_;
    return Pair->open(name => $name,
        connect => { @$connect ? (deflate => @$connect) : () },
        listen  => { @$listen  ? (deflate => @$listen)  : (), on_message => sub { $_[0]->send($_[1]) } });
}

for (
    [ 'a client offers', [], [1], 1 ],
    [ 'a server does not accept', [1], [], 0 ],
    [ 'undef is the default of a client', [undef], [1], 1 ],
    [ 'undef is the default of a server', [], [undef], 0 ],
    [ 'off in the client', [0], [1], 0 ],
    [ 'off in the server', [1], [0], 0 ],
    [ 'an empty string is false', [''], [1], 0 ],
    [ 'an empty hash is true', [ {} ], [ {} ], 1 ],
    [ 'an object that is true', [ switch(1) ], [ switch(1) ], 1 ],
    [ 'an object that is false', [1], [ switch(0) ], 0 ],
    [ 'undef as values', [ { level => undef, client_max_window_bits => undef } ], [ { threshold => undef } ], 1 ],
    [ 'numbers as strings', [ { level => '9' } ], [ { threshold => '1e3', server_max_window_bits => ' 9' } ], 1 ],
    [ 'the greatest', [ { level => 9, server_max_window_bits => 15, client_max_window_bits => 15 } ],
        [ { threshold => 2**53, memory => 2**53, level => 9 } ], 1 ],
    [ 'the least', [ { level => 1, server_max_window_bits => 9, client_max_window_bits => 9 } ],
        [ { threshold => 0, memory => 0, level => 1 } ], 1 ],
) {
    my ($name, $connect, $listen, $agreed) = @$_;
    my $pair = opened($name, $connect, $listen);
    my ($there, $here) = ($pair->c->extensions, $pair->s->extensions);
    is($there, $here, "$name: both see the same");
    $agreed ? like($here, qr/\Apermessage-deflate\b/, "$name: compressed") : is($here, undef, "$name: plain");
    $pair->c->send('echo ' x 1000);
    run_until(sub { $pair->client->count('message') }, "$name: an echo");
    is(($pair->client->messages)[0], 'echo ' x 1000, "$name: as it was sent");
    $pair->shut;
    is($pair->c->extensions, undef, "$name: nothing is left of it after the end");
}

{
    my $conn = $context->connect(url => 'ws://127.0.0.1:1/', on_error => sub { });
    is($conn->extensions, undef, 'nothing while connecting');
    run_until(sub { $conn->state eq 'closed' }, 'refused');
    is($conn->extensions, undef, 'nothing after that');
}

finish();
