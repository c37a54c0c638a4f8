use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Test::More;

use Certificates;
use Chromium;
use EV::Websockets;
use Events;
use File::Path qw(mkpath);
use File::Temp;
use Interop ();
use Interop::Talk;
use ServerProgram;
use Run;

# wss:// with a browser, which trusts the test's own CA and no other.

plan skip_all => 'Chromium is not installed' if !Chromium::find();
my $certutil = ServerProgram::find('certutil') or plan skip_all => 'certutil (of libnss3-tools) is not installed';

my $made = Certificates->new;
$made->ca($_) for qw(ca other);
$made->issue('server', issuer => 'ca', days => 10);
$made->issue('chat', issuer => 'ca', days => 10, san => 'DNS:chat.localhost');
$made->issue('stranger', issuer => 'other', days => 10);

# The database of roots that Chromium looks for in its home.
my $home = File::Temp->newdir;
my $database = "$home/.pki/nssdb";
mkpath($database);
system($certutil, '-d', "sql:$database", '-N', '--empty-password') == 0
    && system($certutil, '-d', "sql:$database", '-A', '-t', 'C,,', '-n', 'test-ca', '-i', $made->file('ca.pem')) == 0
    or die "certutil cannot make a database\n";

my $context  = EV::Websockets::Context->new;
my $stranger = Events->new;
my $refused  = $context->listen($made->listen_with('stranger'), $stranger->handlers);
my $listener = Interop::Talk::Listener->new(
    $context,
    $made->listen_with('server'),
    ssl_sni => { 'chat.localhost' => [map { $made->file("chat.$_") } qw(pem key)] },
);

my $http    = Chromium::serve("$Bin/peers/deflate.html");
my $browser = Chromium->visit(
    $http, ["wss://localhost:$refused/", map { "wss://$_:$listener->{port}/x" } '127.0.0.1', 'chat.localhost'],
    home => "$home",
);

for (['127.0.0.1', undef], ['chat.localhost', 'chat.localhost']) {
    my ($host, $name) = @$_;
    subtest "wss://$host/" => sub {
        my $talk = $listener->accept;
        is $talk->header('Path'), '/x', 'connected';
        my $tls = $talk->{conn}->tls;
        is $tls->{server_name}, $name, 'by that name';
        is $tls->{version}, 'TLSv1.3', 'version';
        is $tls->{alpn}, 'http/1.1', 'ALPN';
        is $tls->{peer_certificate}, undef, 'no certificate';
        is +($talk->next_message)[0], 'extensions=', 'a message of the page';
        $talk->{conn}->send('!own');
        while (1) {
            my ($bytes, $is_binary) = $talk->next_message;
            last if $bytes =~ /\Aown=/ && is $bytes, 'own=10 sent, 0 wrong ', 'more of them, up to a megabyte';
            $is_binary ? $talk->{conn}->send_binary($bytes) : $talk->{conn}->send($bytes);
        }
        $talk->{conn}->close(4000);
        is $talk->next_close->[0], 4000, 'and an end in order';
        is $talk->{error}, undef, 'without an error';
    };
}
is $stranger->order, '', 'the first server of the page had a certificate of a stranger, and saw no connection';

finish;
