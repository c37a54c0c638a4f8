# Frames and requests behind an upgrade that is refused. A classic of servers and of proxies
# that take what follows for the new protocol before they have seen the answer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use RawPeer;
use Run;
use Test::More;

my $victim = victim(listen => { on_handshake => sub { $_[0]{'X-Refuse'} ? 0 : 1 } });
my $frame = bless({ role => 'client' }, 'RawPeer')->make(TEXT, 'smuggled');
my $second = RawPeer->request(path => '/');
my @first = map { RawPeer->request(%$_) } { headers => { 'X-Refuse' => 1 } }, { headers => { 'Sec-WebSocket-Version' => 12 } }, { headers => { 'Sec-WebSocket-Key' => 'short' } };
attack($victim, 'upgrades and frames behind refused ones', times => 30, warm => 10, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    for my $n (1 .. $times) {
        for my $first (@first) {
            for my $behind ($frame x 20, $second . $frame, $frame . $second) {
                my $peer = $victim->peer->put($first . $behind);
                wait_until(sub { $peer->eof }) or fail('over');
                fail('status ' . $peer->status) if ($peer->status || 0) !~ /\A4/;
                fail('upgraded after all') if $peer->rest =~ / 101 /;
            }
        }
        $victim->meanwhile if $n == $times;
    }
});
is($victim->seen->{connect}, 1, 'nobody but the neighbour was connected');
is($victim->seen->{message}, $victim->{trips}, 'and no message came of anybody else');

finish();
