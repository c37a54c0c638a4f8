# What a frame says that its program did not. ws for Node.js made a buffer of that size when
# it was given a number, and sent what was there before (GHSA-2mhh-w6q8-5hxw).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Frame;
use Hostile;
use Run;
use Test::More;

my @values = (0, 1, 100, 65536, 1e6, -1, 1.5, '100', "\0", '');
my $victim = victim(listen => { on_message => sub {
    my ($conn, $which) = @_;
    return if $which !~ /\Avalue (\d+)\z/;
    my $value = $values[$1];
    $conn->send($value);
    $conn->send_binary($value) if $conn->can('send_binary');
    $conn->send_ping($value) if length $value <= 125;
} });
attack($victim, 'numbers as payloads', times => 200, warm => 50, cpu => 2, limit => 64, sub {
    my ($times) = @_;
    my $peer = $victim->upgraded;
    for my $n (1 .. $times) {
        for my $which (0 .. $#values) {
            $peer->send_frame(TEXT, "value $which");
            my $want = "$values[$which]";
            my @got;
            wait_until(sub { push @got, map { $_->{payload} } splice @{ $peer->frames }; grep { $_ eq $want } @got }) or fail("the value $want");
            my @strange = grep { $_ ne $want && $_ !~ /\Avalue/ && !grep { $_ eq $got[0] } @values } @got;
            fail("frames with something else: @strange") if @strange;
        }
    }
    $victim->meanwhile;
    $peer->hang_up;
});

finish();
