use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use EV;
use EV::Websockets;
use Pair;
use Run;
use Test::More;

# Payloads: bytes in, bytes out, whatever kind of scalar the program has.

my $pair = Pair->open(listen => {
    on_message => sub { my ($conn, $bytes, $binary) = @_; $binary ? $conn->send_binary($bytes) : $conn->send($bytes) },
});
my ($server, $client) = ($pair->server, $pair->client);

sub echoed {
    my ($method, $value, $expected, $name) = @_;
    my $before = $client->count('message');
    $pair->c->$method($value);
    run_until(sub { $client->count('message') > $before }, "$name: came back");
    my ($got, $binary, $final) = @{ $client->last_of('message') };
    is($got, $expected, "$name: the bytes");
    ok(!utf8::is_utf8($got), "$name: no UTF8 flag");
    is($binary, $method eq 'send_binary' ? 1 : 0, "$name: is_binary");
    is($final, 1, "$name: is_final");
    is($server->last_of('message')->[0], $expected, "$name: the server saw the same");
}

echoed(send => 'hello', 'hello', 'ASCII');
echoed(send => '', '', 'the empty text');
echoed(send_binary => '', '', 'the empty binary');
echoed(send => '0', '0', 'a false string');
echoed(send => 42, '42', 'an integer');
echoed(send => 1.5, '1.5', 'a number');
echoed(send => "a\0b", "a\0b", 'a NUL inside');
echoed(send_binary => join('', map { chr } 0 .. 255), join('', map { chr } 0 .. 255), 'all bytes');

# SvPV: what a string with the UTF8 flag holds is its UTF-8 octets.
echoed(send => "caf\x{e9} \x{263a}", "caf\xc3\xa9 \xe2\x98\xba", 'wide characters');
{
    my $upgraded = "\xe9";
    utf8::upgrade($upgraded);
    echoed(send => $upgraded, "\xc3\xa9", 'a Latin-1 character with the UTF8 flag');
    ok(utf8::is_utf8($upgraded) && $upgraded eq "\xe9", 'the scalar is as it was');
    my $plain = "\xe9";
    echoed(send_binary => $plain, "\xe9", 'the same without the flag');
}

{
    package Tied;
    sub TIESCALAR { my ($class, $value) = @_; return bless { value => $value, fetched => 0 }, $class }
    sub FETCH { my ($self) = @_; $self->{fetched}++; return $self->{value} }

    package Overloaded;
    use overload '""' => sub { my ($self) = @_; $self->{asked}++; return $self->{text} }, fallback => 1;
}
{
    my $object = tie my $tied, 'Tied', "tied \x{263a}";
    echoed(send => $tied, "tied \xe2\x98\xba", 'a tied scalar');
    is($object->{fetched}, 1, 'fetched once');
    my $overloaded = bless { text => 'overloaded' }, 'Overloaded';
    echoed(send_binary => $overloaded, 'overloaded', 'an overloaded object');
    is($overloaded->{asked}, 1, 'asked once');
}

echoed(send => substr('xxpartxx', 2, 4), 'part', 'a substr');
echoed(send => *STDOUT{PACKAGE}, 'main', 'the result of an expression');
{
    'captured' =~ /(.*)/;
    echoed(send => $1, 'captured', 'a match variable');
}
for my $length (125, 126, 127, 65535, 65536, 65537, 1_000_000) {
    my $bytes = substr 'abcdefghijklmnopq' x (1 + $length / 17), 0, $length;
    echoed(send => $bytes, $bytes, "$length bytes");
}

# undef is a mistake of the program, not an empty message.
for my $method (qw(send send_binary send_fragment)) {
    my $nothing;
    croaks_with { $pair->c->$method($nothing) } "$method: data must be defined", "$method(undef)";
    is(join('', warned()), '', 'without a warning');
}

# A message is the receiver's own: changing it must not change the next one.
{
    my @kept;
    my $own = Pair->open(listen => { on_message => sub { push @kept, $_[1]; $_[1] .= ' changed'; $_[1] = undef if @kept == 2 } });
    $own->c->send("message $_") for 1 .. 4;
    run_until(sub { @kept == 4 }, 'four messages');
    is_deeply(\@kept, [ map { "message $_" } 1 .. 4 ], 'each is what was sent, though the callback wrote to $_[1]');
    my @references;
    my $keeper = Pair->open(listen => { on_message => sub { push @references, \$_[1] } });
    $keeper->c->send("message $_") for 1 .. 4;
    run_until(sub { @references == 4 }, 'four messages again');
    is_deeply([ map { $$_ } @references ], [ map { "message $_" } 1 .. 4 ], 'references to $_[1] keep their values');
}

# The flags are the program's to write to as well.
{
    my @flags;
    my $flags = Pair->open(listen => { on_message => sub { my ($conn, $bytes, $binary, $final) = @_; $binary += 5; $final .= 'x'; push @flags, "$binary$final" } });
    $flags->c->send('t');
    $flags->c->send_binary('b');
    run_until(sub { @flags == 2 }, 'two messages');
    is_deeply(\@flags, [ '51x', '61x' ], 'copies of is_binary and is_final can be changed');
}

finish();
